"""The report of diagnose in every format: terminal, Markdown, HTML, SARIF."""
