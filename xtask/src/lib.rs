//! Project tasks as a library, so that the integration tests can start the same control plane.
