//! daas-core
