//! daas-ssh
