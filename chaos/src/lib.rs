//! Workloads, faults and checkers.
