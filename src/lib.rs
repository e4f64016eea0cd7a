//! The shell of dbt-token-operator.
