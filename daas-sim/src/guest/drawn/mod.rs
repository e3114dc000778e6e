//! Guests drawn in this process: no root, no kernel, but real protocols.
