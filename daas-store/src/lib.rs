//! daas-store
