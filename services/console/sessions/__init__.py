"""Sessions in encrypted cookies, and the proof that a form is the console's own."""
