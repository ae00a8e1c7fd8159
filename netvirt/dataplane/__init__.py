"""The compiled forwarding plane: what happens to a frame. No sockets, no clocks, no protocols."""
