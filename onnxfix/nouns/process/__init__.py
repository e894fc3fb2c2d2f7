"""What long work needs: other processes, progress, and classes found by walking a package."""
