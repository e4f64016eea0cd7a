//! Texts of the CEL rules that are longer than a line or used more than once.
//!
//! All of them were run on a real API server at 1.33 to 1.36, cost included; the tests in `tests/it` run them again.
//! They use no function that the server of 1.33 lacks (so no `distinct()`).

use crate::api::schema::{Rule, is_duration, rule, seconds};

/// Permission sets of the whole account: dbt refuses a project for them.
const ACCOUNT_SETS: &str = "['account_admin','account_viewer','billing_admin','manage_marketplace_apps',\
    'notification_manager','project_creator','security_admin']";

/// Known permission sets that cannot carry write environments.
///
/// This lists the sets that cannot, not the five that can: a set that dbt adds tomorrow must not be refused here.
const SETS_WITHOUT_ENVIRONMENTS: &str = "['account_admin','account_viewer','admin','analyst_read','billing_admin',\
    'cost_insights_admin','cost_insights_viewer','cost_management_admin','cost_management_viewer','fusion_admin',\
    'job_admin','job_creator','job_runner','job_viewer','manage_marketplace_apps','member','metadata_only',\
    'notification_manager','owner','project_creator','readonly','scim_only','security_admin','semantic_layer_only',\
    'stakeholder','webhooks_only']";

const LOOPBACK: &str = "['localhost', '127.0.0.1', '::1', '[::1]']";

/// The name of an object is kept short enough for a label value: slots carry it.
pub(super) fn short_name(kind: &str) -> Rule {
    rule("self.metadata.name.size() <= 63", format!("the name of a {kind} has at most 63 characters"))
}

/// `adopt` is read once; a later edit would look as if it did something.
pub(super) fn adopt_is_final() -> Rule {
    rule(
        "has(self.spec.adopt) && has(oldSelf.status) && has(oldSelf.status.token) ? \
         has(oldSelf.spec.adopt) && self.spec.adopt == oldSelf.spec.adopt : true",
        "adopt is read only before the object has its first token; remove adopt, or create a new ServiceToken that \
         adopts the other token",
    )
    .field_path(".spec.adopt")
    .forbidden()
}

/// No two entries may grant one set on one project; sets the bounds of the list (see `Permission`).
pub(super) fn no_overlap() -> Rule {
    rule(
        "self.all(a, has(a.projects) && a.projects.size() == 0 ? true : self.exists_one(b, a.permissionSet == \
         b.permissionSet && (has(a.projects) ? has(b.projects) && a.projects.exists(p, p in b.projects) : \
         !has(b.projects))))",
        "a permission set is granted twice on the same project; keep one of the two entries",
    )
}

const PROJECTS_OR_ALL: &str = "has(self.projects) != (has(self.allProjects) && self.allProjects)";

/// A permission says where it holds, in one of two ways.
pub(super) fn permission_scope() -> Rule {
    rule(PROJECTS_OR_ALL, "name the projects, or say allProjects true").message_expression(
        "'permission ' + self.permissionSet + ': name its projects, or say allProjects: true (exactly one of the two; \
         nothing means no project)'",
    )
}

/// A grant says where it holds, in one of two ways.
pub(super) fn grant_scope() -> Rule {
    rule(PROJECTS_OR_ALL, "a grant names its projects or says allProjects: true, exactly one of the two")
}

/// A grant says for whom it holds, in one of two ways.
pub(super) fn grant_namespaces() -> Rule {
    rule(
        "has(self.namespaces) != has(self.namespaceSelector)",
        "a grant has namespaces or a namespaceSelector, exactly one of the two (namespaceSelector: {} means every \
         namespace)",
    )
}

/// Sets of the whole account cannot be limited to projects.
pub(super) fn account_sets_need_all_projects() -> Rule {
    rule(
        format!("has(self.projects) ? !(self.permissionSet in {ACCOUNT_SETS}) : true"),
        "account-level permission sets need allProjects true",
    )
    .message_expression(
        "self.permissionSet + ' is a permission set of the whole account and cannot be limited to projects: write \
         allProjects: true'",
    )
    .field_path(".projects")
}

/// Write environments only where dbt takes them.
pub(super) fn environments_fit_the_set() -> Rule {
    rule(
        format!(
            "has(self.writableEnvironments) && self.writableEnvironments.size() > 0 ? \
             !(self.permissionSet in {SETS_WITHOUT_ENVIRONMENTS}) : true"
        ),
        "this permission set carries no write environments",
    )
    .message_expression(
        "self.permissionSet + ' carries no write environments (analyst, database_admin, developer, git_admin and \
         team_admin do): remove writableEnvironments'",
    )
    .field_path(".writableEnvironments")
}

/// dbt's identifiers are lower case; its web pages show titles, which people copy.
pub(super) fn permission_set_is_an_identifier() -> Rule {
    rule("self.matches('^[a-z][a-z0-9_]*$')", "permissionSet takes lower-case identifiers such as job_admin").message_expression(
        "'permissionSet takes the identifier of dbt: write ' + self.trim().lowerAscii().replace(' ', '_')\
             .replace('-', '_') + ' instead of ' + self",
    )
}

/// Names that look right, that some tools of dbt show, and that the API refuses.
pub(super) fn permission_set_exists() -> Rule {
    rule(
        "!(self in ['read_only','metadata','semantic_layer','marketplace_apps','project_admin','security','billing'])",
        "dbt's identifiers are readonly, metadata_only, semantic_layer_only, admin",
    )
    .message_expression(
        "{'read_only': 'readonly', 'metadata': 'metadata_only', 'semantic_layer': 'semantic_layer_only', \
         'marketplace_apps': 'manage_marketplace_apps', 'project_admin': 'admin', 'security': 'security_admin', \
         'billing': 'billing_admin'}[self] + ' is the identifier that dbt uses; ' + self + ' does not exist'",
    )
}

/// `all` contains the rest.
pub(super) fn all_stands_alone() -> Rule {
    rule("'all' in self ? self.size() == 1 : true", "all already contains the other kinds; write it alone")
}

/// A project has one address.
pub(super) fn id_or_name() -> Rule {
    rule("has(self.id) != has(self.name)", "a project is given by id or by name, not by both and not by neither")
}

/// The readers of a Secret know it by name.
pub(super) fn secret_name_is_final() -> Rule {
    rule(
        "self.name == oldSelf.name",
        "secret.name cannot be changed, its readers would lose their token; create a second ServiceToken for the new \
         Secret and delete this one when nothing reads it",
    )
    .field_path(".name")
}

/// The API server does not let anybody change the type of a Secret.
pub(super) fn secret_type_is_final() -> Rule {
    let type_of =
        |object: &str| format!("(has({object}.template) && has({object}.template.type) ? {object}.template.type : 'Opaque')");
    rule(
        format!("{} == {}", type_of("self"), type_of("oldSelf")),
        "the type of a Secret cannot be changed in place; create a second ServiceToken with another secret.name",
    )
    .field_path(".template")
}

/// The old token cannot wait shorter than it must wait.
pub(super) fn deadline_after_overlap() -> Rule {
    let pair = "[has(self.after) ? self.after : '10m', self.deadline]";
    rule(
        format!(
            "has(self.deadline) && {pair}.all(s, {}) ? [{pair}.map(s, {})].all(v, v[0] < v[1]) : true",
            is_duration("s"),
            seconds("s")
        ),
        "deadline must be longer than after (10m unless set)",
    )
    .field_path(".deadline")
}

/// The access URL is a URL at all.
pub(super) fn access_url_is_a_url() -> Rule {
    rule(
        "isURL(self) ? url(self).getScheme() in ['https', 'http'] && url(self).getHost() != '' : false",
        "accessUrl is a URL such as https://ab123.us1.dbt.com, as shown in dbt's account settings",
    )
}

/// The credential never travels in the clear, but for tests on one machine.
pub(super) fn access_url_is_https() -> Rule {
    rule(
        format!("isURL(self) && url(self).getScheme() == 'http' ? url(self).getHostname() in {LOOPBACK} : true"),
        "accessUrl must use https (http is for loopback hosts only)",
    )
}

/// The operator adds the paths.
pub(super) fn access_url_is_bare() -> Rule {
    rule(
        "isURL(self) ? url(self).getEscapedPath() in ['', '/'] && url(self).getQuery().size() == 0 && \
         !self.contains('#') && !self.contains('@') : true",
        "accessUrl is scheme and host only; leave out /api, paths, queries and user names",
    )
}

/// The other endpoints may have paths, but are as safe.
pub(super) fn endpoint_is_https() -> Rule {
    rule(
        format!(
            "isURL(self) ? (url(self).getScheme() == 'http' ? url(self).getHostname() in {LOOPBACK} : \
             url(self).getScheme() == 'https') : false"
        ),
        "an endpoint is an https URL, for example https://ab123.metadata.us1.dbt.com/graphql",
    )
}

/// Five cron fields, each with its own range of numbers, parted by one blank.
pub(super) fn schedule_is_cron() -> Rule {
    /// One field: items with a comma between, each a star, a value or a range, with a step.
    fn field(value: &str, step: &str) -> String {
        let item = format!("([*]|{value}(-{value})?)(/{step})?");
        format!("(({item})(,{item})*)")
    }
    let fields = [
        field("[0-5]?[0-9]", "[1-9][0-9]?"),
        field("([01]?[0-9]|2[0-3])", "[1-9][0-9]?"),
        field("(0?[1-9]|[12][0-9]|3[01])", "[1-9][0-9]?"),
        field("(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)", "[1-9][0-9]?"),
        field("([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)", "[1-7]"),
    ];
    rule(
        // Not `(?i)`, to which U+017F is an S as well: CEL's own function knows ASCII alone, as the parser does.
        format!("self.upperAscii().matches('^{}$')", fields.join(" ' + '")),
        "schedule takes five cron fields (minute hour day month weekday), for example '0 2 * * SAT'",
    )
}
