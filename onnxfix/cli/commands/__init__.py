"""The sub-commands, a module each, imported only when one runs."""
