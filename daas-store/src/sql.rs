//! Every statement that touches a table, in one list: a test explains each of them, so that none
//! can come to read a whole table unnoticed. Only this file can make a [`Sql`].

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite};

/// A statement of the list below, or a page's from [`crate::list`].
#[derive(Debug, Clone)]
pub(crate) struct Sql(Text);

#[derive(Debug, Clone)]
enum Text {
    Fixed(&'static str),
    Composed(String),
}

impl Sql {
    /// A statement put together from fixed pieces; values are bound, never written into it.
    pub(crate) fn composed(pieces: String) -> Self {
        Self(Text::Composed(pieces))
    }

    /// The statement, ready for its values.
    pub(crate) fn query<'q>(&self) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
        match &self.0 {
            Text::Fixed(text) => sqlx::query(*text),
            Text::Composed(text) => sqlx::query(AssertSqlSafe(text.clone())),
        }
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Composed(text) => text,
        }
    }
}

macro_rules! statements {
    ($($name:ident = $text:literal;)*) => {
        $(pub(crate) const $name: Sql = Sql(Text::Fixed($text));)*
        /// All of them, by name.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, Sql)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    DEPLOYMENT = "SELECT id FROM deployment WHERE one = 1";
    DEPLOYMENT_MINT = "INSERT OR IGNORE INTO deployment (one, id) VALUES (1, ?)";
    LEASES_VOID = "UPDATE due SET due_at = MIN(COALESCE(due_at, ?1), ?1), holder = NULL,
        lease_until = NULL WHERE wake_at IS NOT NULL AND lease_until IS NOT NULL";

    SESSION_GET = "SELECT record FROM session WHERE id = ?";
    SESSION_TAKEN = "SELECT 1 FROM session WHERE id = ?1
        UNION ALL SELECT 1 FROM retired WHERE id = ?1";
    SESSION_INSERT = "INSERT INTO session (version, realm, name, organisation, template, label,
        phase, live, cores, memory_mib, created_at, ready_at, ended_at, record, id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    SESSION_UPDATE = "UPDATE session SET version = ?, realm = ?, name = ?, organisation = ?,
        template = ?, label = ?, phase = ?, live = ?, cores = ?, memory_mib = ?,
        created_at = ?, ready_at = ?, ended_at = ?, record = ? WHERE id = ?";
    SESSION_STATE = "SELECT session.version, due.fence, due.lease_until IS NOT NULL AS held,
        reservation.provisioner, reservation.machine
        FROM session JOIN due ON due.session = session.id
        LEFT JOIN reservation ON reservation.session = session.id WHERE session.id = ?";
    SESSION_BY_LABEL = "SELECT id FROM session
        WHERE realm = ? AND name = ? AND label = ? AND live = 1 AND id <> ?";
    SESSION_POOLED = "SELECT record FROM session INDEXED BY session_pooled
        WHERE phase = 'pooled' AND realm = '' AND name = '' AND template = ?
        ORDER BY ready_at LIMIT 1";
    SESSIONS_ENDED = "SELECT id FROM session INDEXED BY session_ended
        WHERE ended_at < ? AND live = 0 ORDER BY ended_at LIMIT ?";
    SESSION_DELETE = "DELETE FROM session WHERE id = ?";
    SESSIONS_RESERVED = "SELECT record FROM session WHERE id IN
        (SELECT session FROM reservation WHERE provisioner = ?)";

    RESERVATION_HOLDER = "SELECT session FROM reservation WHERE provisioner = ? AND machine = ?";
    RESERVATION_INSERT =
        "INSERT INTO reservation (provisioner, machine, session) VALUES (?, ?, ?)";
    RESERVATION_DELETE = "DELETE FROM reservation WHERE provisioner = ? AND machine = ?";

    USAGE = "SELECT sessions, cores, memory_mib FROM usage
        WHERE scope = ? AND realm = ? AND name = ?";
    PHASES = "SELECT phase, sessions FROM phase_count";
    TOTAL = "SELECT created, ended, ended_after_ms FROM total WHERE one = 1";

    DUE_INSERT = "INSERT INTO due (session, due_at) VALUES (?, ?)";
    DUE_ANY = "SELECT 1 FROM due WHERE wake_at <= ? LIMIT 1";
    DUE_NEXT = "SELECT wake_at FROM due WHERE wake_at >= -9223372036854775807
        ORDER BY wake_at LIMIT 1";
    DUE_TAKEN = "SELECT due.session, due.fence, session.record
        FROM due INDEXED BY due_wake JOIN session ON session.id = due.session
        WHERE due.wake_at <= ? ORDER BY due.wake_at LIMIT ?";
    DUE_TAKE = "UPDATE due SET fence = fence + 1, due_at = NULL, holder = ?, lease_until = ?
        WHERE session IN (SELECT value FROM json_each(?))";
    DUE_RENEW = "UPDATE due SET lease_until = ?4
        WHERE session = ?1 AND fence = ?2 AND holder = ?3 AND lease_until IS NOT NULL";
    DUE_RELEASE = "UPDATE due SET due_at = COALESCE(due_at, ?3), holder = NULL, lease_until = NULL
        WHERE session = ?1 AND fence = ?2 AND lease_until IS NOT NULL";
    DUE_GIVE_BACK = "UPDATE due SET due_at = COALESCE(due_at, ?), holder = NULL,
        lease_until = NULL WHERE session = ?";
    DUE_DELETE = "DELETE FROM due WHERE session = ?";
    DUE_SET = "UPDATE due SET due_at = ? WHERE session = ?";
    DUE_HASTEN = "UPDATE due SET due_at = MIN(COALESCE(due_at, ?2), ?2) WHERE session = ?1";

    EVENT_INSERT = "INSERT INTO event (at, session, realm, name, organisation, body)
        VALUES (?, ?, ?, ?, ?, ?)";
    EVENT_NEWEST = "SELECT MAX(pruned_cursor, COALESCE(
        (SELECT cursor FROM event WHERE cursor > 0 ORDER BY cursor DESC LIMIT 1), 0))
        FROM total WHERE one = 1";
    EVENTS_OLDEST = "SELECT cursor FROM event WHERE session = ? ORDER BY cursor LIMIT ?";
    EVENTS_DELETE = "DELETE FROM event WHERE session = ? AND cursor <= ?";
    CURSOR_PRUNED = "UPDATE total SET pruned_cursor = MAX(pruned_cursor, ?) WHERE one = 1";
    CURSOR_PRUNED_GET = "SELECT pruned_cursor FROM total WHERE one = 1";

    RETIRED_GET = "SELECT 1 FROM retired WHERE id = ?";
    RETIRED_INSERT = "INSERT INTO retired (id, events_left) VALUES (?, 1)";
    RETIRED_WITH_EVENTS = "SELECT id FROM retired INDEXED BY retired_events
        WHERE events_left = 1 LIMIT 1";
    RETIRED_WITHOUT_EVENTS = "UPDATE retired SET events_left = NULL WHERE id = ?";

    ACTIVITY_GET = "SELECT body FROM activity WHERE session = ?";
    ACTIVITY_PUT = "INSERT INTO activity (session, body)
        SELECT id, ?2 FROM session WHERE id = ?1
        ON CONFLICT (session) DO UPDATE SET body = excluded.body";
    ACTIVITY_DELETE = "DELETE FROM activity WHERE session = ?";

    IDEMPOTENCY_GET = "SELECT session FROM idempotency WHERE realm = ? AND name = ? AND key = ?";
    IDEMPOTENCY_PUT = "INSERT INTO idempotency (realm, name, key, session, used_at)
        VALUES (?, ?, ?, ?, ?)";
    IDEMPOTENCY_OLD = "SELECT realm, name, key FROM idempotency INDEXED BY idempotency_used
        WHERE used_at < ? ORDER BY used_at LIMIT ?";
    IDEMPOTENCY_DELETE = "DELETE FROM idempotency WHERE realm = ? AND name = ? AND key = ?";
    IDEMPOTENCY_DELETE_OF = "DELETE FROM idempotency WHERE session = ?";

    KEY_THERE = "SELECT 1 FROM api_key WHERE name = ?1
        UNION ALL SELECT 1 FROM api_key WHERE hash = ?2";
    KEY_INSERT = "INSERT INTO api_key (name, hash, owner_realm, owner_name, body)
        VALUES (?, ?, ?, ?, ?)";
    KEY_COUNT = "SELECT COUNT(*) FROM api_key WHERE owner_realm = ? AND owner_name = ?";
    KEY_BY_HASH = "SELECT body, used_at FROM api_key WHERE hash = ?";
    KEYS_ALL = "SELECT body, used_at FROM api_key ORDER BY name";
    KEYS_OF = "SELECT body, used_at FROM api_key
        WHERE owner_realm = ? AND owner_name = ? ORDER BY name";
    KEY_DELETE = "DELETE FROM api_key WHERE name = ?";
    KEY_DELETE_OF = "DELETE FROM api_key WHERE name = ? AND owner_realm = ? AND owner_name = ?";
    KEY_SEEN = "UPDATE api_key SET used_at = MAX(COALESCE(used_at, ?2), ?2) WHERE name = ?1";

    FACTOR_INSERT = "INSERT OR IGNORE INTO second_factor
        (realm, name, sealed, last_step, created_at) VALUES (?, ?, ?, ?, ?)";
    FACTOR_OF = "SELECT sealed, last_step, created_at,
        (SELECT json_group_array(hash) FROM recovery_code AS code
            WHERE code.realm = factor.realm AND code.name = factor.name)
        FROM second_factor AS factor WHERE realm = ? AND name = ?";
    FACTOR_THERE = "SELECT 1 FROM second_factor WHERE realm = ? AND name = ?";
    FACTOR_STEP = "UPDATE second_factor SET last_step = ?3
        WHERE realm = ?1 AND name = ?2 AND last_step < ?3";
    FACTOR_DELETE = "DELETE FROM second_factor WHERE realm = ? AND name = ?";
    RECOVERY_INSERT = "INSERT INTO recovery_code (realm, name, hash) VALUES (?, ?, ?)";
    RECOVERY_DELETE = "DELETE FROM recovery_code WHERE realm = ? AND name = ? AND hash = ?";
    RECOVERY_DELETE_OF = "DELETE FROM recovery_code WHERE realm = ? AND name = ?";

    SIGN_IN_THERE = "SELECT 1 FROM sign_in WHERE id = ?1
        UNION ALL SELECT 1 FROM sign_in WHERE hash = ?2";
    SIGN_IN_INSERT = "INSERT INTO sign_in
        (id, hash, realm, name, created_at, seen_at, ends_at, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    SIGN_IN_BY_HASH = "SELECT body, seen_at FROM sign_in WHERE hash = ?";
    SIGN_INS_OF = "SELECT body, seen_at FROM sign_in WHERE realm = ? AND name = ?
        ORDER BY created_at DESC, id";
    SIGN_INS_NEWEST = "SELECT body, seen_at FROM sign_in INDEXED BY sign_in_created
        WHERE created_at >= -9223372036854775807 ORDER BY created_at DESC, id LIMIT ?";
    SIGN_IN_SEEN = "UPDATE sign_in SET seen_at = MAX(seen_at, ?2) WHERE id = ?1";
    SIGN_IN_DELETE = "DELETE FROM sign_in WHERE id = ? AND realm = ? AND name = ?";
    SIGN_INS_OVER = "DELETE FROM sign_in WHERE id IN
        (SELECT id FROM sign_in WHERE ends_at <= ?1 OR seen_at < ?2 LIMIT ?3)";

    AUDIT_INSERT = "INSERT INTO audit_entry (writer, number, at, owner, session, act, body)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    AUDIT_GET = "SELECT body FROM audit_entry WHERE writer = ? AND number = ?";
    AUDIT_YOUNG = "SELECT number FROM audit_entry
        WHERE writer = ? AND number >= ? AND number < ? AND at >= ? ORDER BY number LIMIT 1";
    AUDIT_DELETE = "DELETE FROM audit_entry WHERE writer = ? AND number <= ?";
    AUDIT_CHAINS = "SELECT writer, first, number, hash, linked FROM audit_chain ORDER BY writer";
    AUDIT_CHAIN = "SELECT writer, first, number, hash, linked FROM audit_chain WHERE writer = ?";
    AUDIT_CHAIN_PUT = "INSERT INTO audit_chain (writer, first, number, hash) VALUES (?, ?, ?, ?)
        ON CONFLICT (writer) DO UPDATE SET number = excluded.number, hash = excluded.hash";
    AUDIT_CHAIN_FIRST = "UPDATE audit_chain SET first = MAX(first, ?) WHERE writer = ?";
    AUDIT_CHAIN_DELETE = "DELETE FROM audit_chain WHERE writer = ? AND number <= ?";
    AUDIT_LINKED = "UPDATE audit_chain SET linked = MAX(linked, ?) WHERE writer = ?";
    AUDIT_HEAD_INSERT = "INSERT INTO audit_head (writer, number, body) VALUES (?, ?, ?)";
    AUDIT_HEADS = "SELECT place, body FROM audit_head WHERE place > ? ORDER BY place LIMIT ?";
    AUDIT_HEADS_DELETE = "DELETE FROM audit_head WHERE writer = ? AND number <= ?";
}
