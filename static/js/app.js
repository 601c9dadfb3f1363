// The console's own behaviour. Everything hangs on data-* attributes and works on what htmx swaps in later.
// Without this file the pages still do all they are for.
import "./look.js";
import "./toasts.js";
import "./polls.js";
import "./dialogs.js";
import "./palette.js";
import "./shortcuts.js";
import "./charts.js";
import "./copy.js";
import "./live_rows.js";
import "./prompt_editor.js";
import "./passkeys.js";
