"""How others speak with a running `trueup up`: HTTP over a socket in the state folder."""
