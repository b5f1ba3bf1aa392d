"""What operators need: health and metrics, the instances' states, what happens by itself, and a good end."""
