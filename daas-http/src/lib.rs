//! daas-http
