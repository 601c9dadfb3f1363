"""The provider families: each a file of pure functions between the canonical chat and one vendor's wire format."""
