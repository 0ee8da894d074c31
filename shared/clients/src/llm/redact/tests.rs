use super::*;

// The card numbers are the published test numbers of Visa and Mastercard, the IBAN is the example
// of the standard, the token is the example of RFC 7519.
const SECRETS: &[(&str, &str)] = &[
    (
        "postgres://app:s3cr3t@db:5432/x",
        "postgres://app:[redacted:password]@db:5432/x",
    ),
    (
        "redis://:p@ss@cache:6379",
        "redis://:[redacted:password]@cache:6379",
    ),
    (
        "mongodb+srv://u:pw%21x@c.example.net/?w=1",
        "mongodb+srv://u:[redacted:password]@c.example.net/?w=1",
    ),
    (
        "jdbc:oracle:thin:scott/tiger@//db:1521/X",
        "jdbc:oracle:thin:scott/[redacted:password]@//db:1521/X",
    ),
    (
        "Server=db;User Id=sa;Password=a b;Encrypt=on",
        "Server=db;User Id=sa;Password=[redacted:secret] b;Encrypt=on",
    ),
    (
        "GET https://0123456789abcdef@sentry.io/1",
        "GET https://[redacted:token]@sentry.io/1",
    ),
    (
        "key sk-abcdefghijklmnop1234 used",
        "key [redacted:token] used",
    ),
    ("ghp_abcdefghijklmnopqrst12", "[redacted:token]"),
    ("akiaabcdefghijklmnop", "[redacted:token]"),
    (
        "Authorization: Bearer abc.def-ghi12345",
        "Authorization: Bearer [redacted:token]",
    ),
    (
        "Authorization: Basic dXNlcjpwYXNz",
        "Authorization: Basic [redacted:secret]",
    ),
    (
        "curl -H 'X-Api-Key: k1'",
        "curl -H 'X-Api-Key: [redacted:secret]'",
    ),
    (
        "curl -u bob:hunter2 http://x",
        "curl -u bob:[redacted:password] http://x",
    ),
    (
        "password=hunter2 user=bob",
        "password=[redacted:secret] user=bob",
    ),
    (
        "DB_PASSWORD: \"two words\",",
        "DB_PASSWORD: \"[redacted:secret]\",",
    ),
    ("dbPassword = 'x;y'", "dbPassword = '[redacted:secret]'"),
    (
        "DB_PASSWORD=a&b,c\nnext",
        "DB_PASSWORD=[redacted:secret]\nnext",
    ),
    (
        r#"{"token":"t0","user":"bob"}"#,
        r#"{"token":"[redacted:secret]","user":"bob"}"#,
    ),
    (
        r#"{"password":"a\"b","n":1}"#,
        r#"{"password":"[redacted:secret]","n":1}"#,
    ),
    (
        r#"{\"api_key\":\"k\",\"a\":1}"#,
        r#"{\"api_key\":\"[redacted:secret]\",\"a\":1}"#,
    ),
    (
        r#"{\\\"api_key\\\":\\\"k7\\\",\\\"a\\\":1}"#,
        r#"{\\\"api_key\\\":\\\"[redacted:secret]\\\",\\\"a\\\":1}"#,
    ),
    (
        r#"{"name":"DB_PASSWORD","value":"x1"}"#,
        r#"{"name":"DB_PASSWORD","value":"[redacted:secret]"}"#,
    ),
    (
        "?access_token=abc&page=2",
        "?access_token=[redacted:secret]&page=2",
    ),
    (
        "next=%2Fin%3Fpassword%3Dhunter2%26a%3D1",
        "next=%2Fin%3Fpassword%3D[redacted:secret]%26a%3D1",
    ),
    (
        "<password>hunter2</password>",
        "<password>[redacted:secret]</password>",
    ),
    ("Cookie: a=b1; sid=c2 x", "Cookie: [redacted:cookie] x"),
    (
        "JSESSIONID=8F3A; Path=/",
        "JSESSIONID=[redacted:secret]; Path=/",
    ),
    (
        "pass\u{200b}word\u{ff1a} hunter2",
        "pass\u{200b}word\u{ff1a} [redacted:secret]",
    ),
    ("р\u{430}ssword=hunter2", "р\u{430}ssword=[redacted:secret]"),
    (
        "ALTER USER a WITH PASSWORD 'x y'",
        "ALTER USER a WITH PASSWORD '[redacted:password]'",
    ),
    (
        "mail bob.b+x@mail.example.com now",
        "mail [redacted:email] now",
    ),
    (
        "card 4111 1111 1111 1111 declined",
        "card [redacted:card] declined",
    ),
    ("card 5555-5555-5555-4444.", "card [redacted:card]."),
    ("to GB82 WEST 1234 5698 7654 32 ok", "to [redacted:iban] ok"),
    (
        "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N end",
        "jwt [redacted:jwt] end",
    ),
    (
        "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nb",
        "a\n[redacted:private-key]\nb",
    ),
    (
        "-----BEGIN PRIVATE KEY-----\nMIIE cut off",
        "[redacted:private-key]",
    ),
    (
        r#"{"k":"-----BEGIN PRIVATE KEY-----\nMIIE","x":"y"}"#,
        r#"{"k":"[redacted:private-key]","x":"y"}"#,
    ),
    // base64 of {"password":"hunter2"}
    (
        "blob eyJwYXNzd29yZCI6Imh1bnRlcjIifQ== end",
        "blob [redacted:encoded] end",
    ),
    (
        "password=[redacted:secret]hunter2",
        "password=[redacted:secret][redacted:secret]",
    ),
];

#[test]
fn secrets_become_placeholders() {
    for (text, expected) in SECRETS {
        assert_eq!(redact(text), *expected);
        assert_eq!(
            redact(expected),
            *expected,
            "redacting twice changes nothing"
        );
    }
}

#[test]
fn a_value_cut_by_a_line_break_is_one_secret() {
    let wrapped = [
        "2026-11-02T12:00:00Z WARN auth push failed key=ghp_16C7e42F292c6912\nE7710c838347Ae178B4a for repo",
        "export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG\\\n    bPxRfiCYEXAMPLEKEY",
        "{\"id\": 1, \"first\": \"2026-11-02T12:00:00Z stdout P login with api_key=Zk3\\n2026-11-02T12:00:00Z stdout F 9xQ7wLpT2 ok\"}",
        "2026-11-02T12:00:00Z stdout P login with api_key=Zk3\n2026-11-02T12:00:00Z stdout F 9xQ7wLpT2 ok",
    ];
    for text in wrapped {
        let redacted = redact(text);
        for piece in ["16C7e42F", "E7710c83", "wJalrX", "bPxRfi", "Zk3", "9xQ7w"] {
            assert!(!redacted.contains(piece), "{redacted}");
        }
    }
    let separate =
        "2026-11-02T12:00:00Z WARN retry after password=hunter2\n2026-11-02T12:00:01Z INFO done";
    assert!(redact(separate).ends_with("\n2026-11-02T12:00:01Z INFO done"));
}

#[test]
fn evidence_stays_readable() {
    let kept = [
        "password authentication failed for user app",
        "Basic authentication required, bearer authentication offered",
        "invalid token: signature is invalid",
        "token: expired, password: incorrect",
        "prompt_tokens: 1200, max_tokens=200, \"tokens\":[1, 2]",
        "restarted backup@nightly.service",
        "clone git@github.com:acme/pay.git",
        "connecting to amqp://worker@queue.internal:5672",
        "image registry/app@sha256:4f5a0c5b9e2d7c1f8a6b3e4d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d4c3b",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 (HEAD)",
        "timestamp_ms 1763769600000, offset 4111111111111112, 1763769600000000000 ns",
        "ratio 0.4111111111111111, bytes 4294967296",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
        "id 550e8400-e29b-41d4-a716-446655440000",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "INC-94DA7E32 cites metric-1f0c9a7be2, log-09ab34cd12 and anomaly-77aa00bb11",
        r#"{"id":"metric-1f0c9a7be2","metric":"auth_token_latency_ms","mean_before":12.5}"#,
        r#"{"name":"service_tokens","value":12}"#,
        "http://payment-service:8080/pay?order=12&partition_key=7",
        "HikariPool-1 - Connection is not available, request timed out after 30000ms",
        "MountVolume failed for volume \"creds\": secret \"payments-tls\" not found",
        "PASSWORD=${DB_PASSWORD} TOKEN=$(cat x) PWD=/srv/app",
        "pod checkout-7d9f8b6c5d-x2x4z on node ip-10-0-3-17.ec2.internal",
        "sort key=customer, cache_key=order:12, monkey=george",
        "task-abcdefghijklmnopqrstuv1 risk-assessment-service-v2-canary",
        "aGVsbG8gd29ybGQsIHRoaXMgaXMgZmluZQ== and /usr/lib/jvm/java-17-openjdk-amd64/bin/java",
    ];
    for text in kept {
        assert_eq!(redact(text), text);
        assert_eq!(Vault::default().hide(text), text);
    }
}

#[test]
fn equal_secrets_have_equal_placeholders_and_come_back() {
    let mut vault = Vault::default();
    let first = "login with password=Hunter22x failed";
    let second = "retry ghp_abcdefghijklmnopqrst12, then password: \"Hunter22x\"";
    assert_eq!(
        vault.hide(first),
        "login with password=[secret-1:secret] failed"
    );
    assert_eq!(
        vault.hide(second),
        "retry [secret-2:token], then password: \"[secret-1:secret]\""
    );
    // Known from a place that gives it away, it is a secret in any other.
    assert_eq!(
        vault.hide("tried Hunter22x again"),
        "tried [secret-1:secret] again"
    );
    assert_eq!(vault.hide("q=Hunter22x%21"), "q=[secret-1:secret]%21");
    assert_eq!(vault.len(), 2);
    let said = "[secret-1:secret] was refused, [secret-2:jwt] and [secret-9:token] are unknown";
    assert_eq!(
        vault.show_again(said),
        "Hunter22x was refused, [secret-2:jwt] and [secret-9:token] are unknown"
    );
    let hidden = vault.hide(second);
    assert_eq!(vault.hide(&hidden), hidden);
    assert_eq!(vault.show_again(&hidden), second);
    assert_eq!(redact(&hidden), hidden);
}

#[test]
fn a_vault_is_made_again_from_the_same_texts_and_shows_nothing_of_itself() {
    let texts: Vec<&str> = SECRETS.iter().map(|(text, _)| *text).collect();
    let all = texts.join("\n");
    let (mut one, mut other) = (Vault::default(), Vault::default());
    assert_eq!(one.hide(&all), other.hide(&all));
    assert!(one.len() > 20);
    assert_eq!(
        format!("{one:?}"),
        format!("Vault {{ secrets: {}, .. }}", one.len())
    );
}

#[test]
fn one_notation_of_a_secret_is_known_by_another() {
    let mut vault = Vault::default();
    let texts = [
        "password=aB3%2FcD4eF",
        r#"{"password":"aB3\/cD4eF"}"#,
        "password: aB3/cD4eF",
    ];
    let hidden: Vec<String> = texts.iter().map(|text| vault.hide(text)).collect();
    assert_eq!(
        hidden,
        [
            "password=[secret-1:secret]",
            r#"{"password":"[secret-1:secret]"}"#,
            "password: [secret-1:secret]"
        ]
    );
}

#[test]
fn an_id_that_a_line_calls_a_token_stays_an_id_elsewhere() {
    let mut vault = Vault::default();
    let hidden = vault.hide("token=metric-1f0c9a7be2 secret=payment-service password=INC-94DA7E32");
    assert!(!hidden.contains("1f0c9a7be2"));
    let text = "metric-1f0c9a7be2 of payment-service in INC-94DA7E32";
    assert_eq!(vault.hide(text), text);
}

#[test]
fn what_a_model_repeats_holds_no_secret_either() {
    let mut vault = Vault::default();
    let hidden = vault.hide("password=letmein api_key=Zk39xQ");
    assert_eq!(
        hidden,
        "password=[secret-1:secret] api_key=[secret-2:secret]"
    );
    let said = vault.show_again("[secret-1:secret] and [secret-2:secret] are refused");
    assert_eq!(said, "letmein and Zk39xQ are refused");
    assert_eq!(
        vault.hide(&said),
        "letmein and [secret-2:secret] are refused"
    );
    assert_eq!(
        vault.hide_echo(&said),
        "[secret-1:secret] and [secret-2:secret] are refused"
    );
}

#[test]
fn a_secret_that_was_cut_by_a_line_break_is_known_when_it_is_repeated() {
    let mut vault = Vault::default();
    let text =
        "2026-11-02T11:59:30Z ERROR publish step used npm_Wr4pFirstHalf01234567\nSec0ndHalf99 now";
    let hidden = vault.hide(text);
    assert!(hidden.ends_with("used [secret-1:token] now"), "{hidden}");
    // People see it whole.
    assert_eq!(vault.show_again(&hidden), text.replace('\n', ""));
    let said = vault.show_again("[secret-1:token] is refused");
    assert_eq!(vault.hide_echo(&said), "[secret-1:token] is refused");
    assert_eq!(
        vault.hide("key npm_Wr4pFirstHalf01234567Sec0ndHalf99"),
        "key [secret-1:token]"
    );
}

#[test]
fn no_flood_of_secrets_fills_the_memory() {
    let text: String = (0..MAX_SECRETS + 5)
        .map(|number| format!("password=x{number}y\n"))
        .collect();
    let mut vault = Vault::default();
    let hidden = vault.hide(&text);
    assert_eq!(vault.len(), MAX_SECRETS);
    assert_eq!(hidden.matches("[redacted:secret]").count(), 5);
    assert_eq!(hidden.matches("[secret-").count(), MAX_SECRETS);
}

#[test]
fn strings_of_a_document_are_shown_again() {
    let mut vault = Vault::default();
    let hidden = vault.hide("password=hunter2");
    let mut value = serde_json::json!({"a": [hidden], "n": 1});
    vault.show_again_in(&mut value);
    assert_eq!(
        value,
        serde_json::json!({"a": ["password=hunter2"], "n": 1})
    );
}
