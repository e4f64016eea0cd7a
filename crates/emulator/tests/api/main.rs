//! The checklist of the fact sheet (section 10), point by point, over real HTTP.

mod checklist;
mod graphql;
mod support;
