//! What dbt's plans allow. dbt's list of plans grows, so an unknown plan is left to dbt's own judgement.
//!
//! All of this is `[ASSUMED]` from dbt's documentation of mid-2026: no call was made to an account of any plan.

/// What a plan means for service tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanClass {
    /// Only `semantic_layer_only`: Starter, Developer and free accounts.
    SemanticLayerOnly,
    /// The account is cancelled: dbt refuses to work with it.
    Cancelled,
    /// Any set, or some that dbt itself refuses: legacy Team, Enterprise, trials, usage-based and unknown plans.
    ServerDecides,
}

/// The class of a plan, as dbt spells it.
pub fn plan_class(plan: &str) -> PlanClass {
    if plan.starts_with("cancelled") {
        PlanClass::Cancelled
    } else if plan == "free" || plan == "starter" || plan.starts_with("starter_") || plan.starts_with("developer") {
        PlanClass::SemanticLayerOnly
    } else {
        PlanClass::ServerDecides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plans: &[&str], expected: PlanClass) {
        for plan in plans {
            assert_eq!(plan_class(plan), expected, "{plan}");
        }
    }

    #[test]
    fn every_plan_that_dbt_lists_has_a_class() {
        check(&["cancelled", "cancelled_2022", "cancelled_2025"], PlanClass::Cancelled);
        check(&["free", "developer", "developer_2022", "starter_2025"], PlanClass::SemanticLayerOnly);
        check(&["enterprise", "enterprise_2025", "enterprise_plus_2025"], PlanClass::ServerDecides);
        check(&["team", "team_2022", "team_annual", "trial", "trial_2022", "trial_2025"], PlanClass::ServerDecides);
        check(&["usage_2026", "usage_managed_2026", "", "freedom", "something_new"], PlanClass::ServerDecides);
    }
}
