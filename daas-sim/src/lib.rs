//! A simulated Proxmox VE cluster and drawn guests, speaking the real protocols.

pub mod guest;
