"""The report of a bench: page, plots, tables, files, and the comparison with an earlier one."""
