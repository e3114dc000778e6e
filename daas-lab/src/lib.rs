//! daas-lab
