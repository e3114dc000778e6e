//! daas-compose
