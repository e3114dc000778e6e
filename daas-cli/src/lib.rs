//! daas-cli
