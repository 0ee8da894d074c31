//! What the services talk about: the words of logs, spans and releases.

use crate::fleet::Service;

/// The vocabulary of one service.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// What its clients ask for.
    pub routes: &'static [&'static str],
    /// What it waits for when it is slow by itself.
    pub slow_dependency: &'static str,
    /// The exception of an error spike.
    pub exception: &'static str,
    /// What burns its CPU.
    pub hot_path: &'static str,
    /// What its memory fills with.
    pub leak: &'static str,
    /// What its release changes.
    pub release: &'static str,
    pub release_risks: &'static [&'static str],
    /// What fails after the release.
    pub release_error: &'static str,
    /// What became slow with the release.
    pub release_slowness: &'static str,
    /// Who released it.
    pub author: &'static str,
    /// Whether it runs on the Java virtual machine.
    pub jvm: bool,
}

static STORIES: [Story; 6] = [
    Story {
        routes: &[
            "POST /api/v1/payments",
            "POST /api/v1/orders",
            "GET /api/v1/session",
            "GET /api/v1/stock",
        ],
        slow_dependency: "rate-limit store of the gateway",
        exception: "panic recovered in route matcher: nil policy for tenant \"eu-retail\" (matcher.go:218)",
        hot_path: "route pattern ^(/[a-z0-9-]+)*/?$ backtracks",
        leak: "access-log buffers of unfinished requests",
        release: "Route table compiled from the new policy format",
        release_risks: &["routes with nested groups match differently in the new compiler"],
        release_error: "no route matches GET /api/v1/session: policy group \"session\" is empty",
        release_slowness: "policy is compiled again on every request",
        author: "ines.moreau",
        jvm: false,
    },
    Story {
        routes: &[
            "POST /v1/charges",
            "POST /v1/refunds",
            "GET /v1/charges/{id}",
        ],
        slow_dependency: "card processor acquirer-eu",
        exception: "IllegalStateException: ledger entry has no counter account (LedgerWriter.java:88)",
        hot_path: "signature check of processor callbacks runs once per retry",
        leak: "idempotency keys that never expire",
        release: "Ledger writes moved to batched inserts",
        release_risks: &["batches larger than 500 entries hold their transaction open"],
        release_error: "PSQLException: column ledger_entry.batch_id does not exist",
        release_slowness: "INSERT INTO ledger_entry waits for a lock held by migration 0412",
        author: "tomasz.zielinski",
        jvm: true,
    },
    Story {
        routes: &[
            "POST /v1/orders",
            "GET /v1/orders/{id}",
            "POST /v1/orders/{id}/cancel",
        ],
        slow_dependency: "orders-db primary (SELECT on order_line)",
        exception: "NullPointerException in OrderPricing.applyDiscount (OrderPricing.kt:142): promotion AUTUMN-26 has no currency",
        hot_path: "discount rules are evaluated for every line of every cart",
        leak: "event snapshots of finished orders",
        release: "Order state machine accepts partial deliveries",
        release_risks: &["orders in state SPLIT are unknown to the old consumers"],
        release_error: "IllegalArgumentException: no transition from SPLIT to SHIPPED",
        release_slowness: "state history is loaded row by row",
        author: "bianca.rossi",
        jvm: true,
    },
    Story {
        routes: &["GET /v1/session", "POST /v1/session", "GET /v1/users/{id}"],
        slow_dependency: "users-db primary (SELECT on users.email_normalised)",
        exception: "runtime error: invalid memory address in profile merge (merge.go:77)",
        hot_path: "password hashing cost was raised to 14",
        leak: "goroutines of cancelled sign-ins",
        release: "Session codec v3 and case-insensitive sign-in",
        release_risks: &[
            "codec v3 cannot read sessions written before this release",
            "migration 0193 rewrites users.email_normalised; its index is built after the rollout",
        ],
        release_error: "cannot decode session: unknown codec version 2, expected 3",
        release_slowness: "sign-in scans users.email_normalised without its index (migration 0193)",
        author: "dana.okafor",
        jvm: false,
    },
    Story {
        routes: &[
            "GET /v1/stock",
            "POST /v1/reservations",
            "GET /v1/warehouses",
        ],
        slow_dependency: "inventory-db primary (UPDATE on reservation)",
        exception: "KeyError: 'BACKORDER' in reserve_stock (reservations.py:203)",
        hot_path: "stock levels of all warehouses are recalculated per request",
        leak: "cached warehouse snapshots",
        release: "Stock status BACKORDER added to the public contract",
        release_risks: &["readers that list the known states refuse the new one"],
        release_error: "ValidationError: status BACKORDER is not one of IN_STOCK, RESERVED, SOLD_OUT",
        release_slowness: "availability is computed from the reservation log",
        author: "jonas.lindqvist",
        jvm: false,
    },
    Story {
        routes: &["POST /v1/messages", "GET /v1/messages/{id}"],
        slow_dependency: "mail provider relay-2",
        exception: "TypeError: cannot read properties of undefined (reading 'locale') at render (render.ts:61)",
        hot_path: "templates are parsed again for every message",
        leak: "compiled templates keyed by recipient",
        release: "Template engine renders per-locale variants",
        release_risks: &["recipients without a locale fall through to no template"],
        release_error: "TemplateNotFound: no variant of order-shipped for locale undefined",
        release_slowness: "template variants are read from disk for every message",
        author: "priya.nair",
        jvm: false,
    },
];

/// The vocabulary of `service`.
#[must_use]
pub fn story(service: Service) -> &'static Story {
    &STORIES[service as usize]
}
