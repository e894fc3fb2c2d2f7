"""The job of bench: which variants there are, who makes their files, what data they run on."""
