"""The rows of the history that is made from looks at folders (providers/folder_history)."""
