//! daas-proxmox
