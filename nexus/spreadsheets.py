"""CSV that people open in a spreadsheet."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def safe_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: names in it come from whoever calls the gateway."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
