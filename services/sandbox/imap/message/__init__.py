"""Parts and descriptions of a message as FETCH gives them."""
