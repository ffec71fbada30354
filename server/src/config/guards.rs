//! The options that protect the server. A reload may change a protection but not remove it: a file emptied by accident
//! must not open the server.

use ipnet::IpNet;

use super::Config;

impl Config {
    /// The protections of this configuration that the other one removes or weakens.
    pub fn guards_lost_in(&self, other: &Self) -> Vec<&'static str> {
        let pairs = self.guards().into_iter().zip(other.guards());
        let lost = pairs.filter(|((_, here), (_, there))| *here && !there).map(|((name, _), _)| name);
        let widened = trusts_more(&self.listen.trusted_proxy, &other.listen.trusted_proxy);
        lost.chain(widened.then_some("trusted-proxy (for more networks)")).collect()
    }

    /// The name of each, and whether it is set.
    fn guards(&self) -> [(&'static str, bool); 24] {
        let Self { listen, access, webhook, operations, limits, .. } = self;
        [
            (
                "token-key-file or token-jwks-file",
                access.token_key_file.is_some() || access.token_jwks_file.is_some(),
            ),
            // Without it, other headers are trusted, which clients may be able to set.
            ("proxy-header", listen.proxy_header.is_some()),
            ("token-audience", access.token_audience.is_some()),
            ("token-issuer", access.token_issuer.is_some()),
            ("allowed-origin", !access.allowed_origin.is_empty()),
            ("webhook-url", webhook.webhook_url.is_some()),
            ("webhook-secret-file", webhook.webhook_secret_file.is_some()),
            ("admin-secret-file", operations.admin_secret_file.is_some()),
            ("max-queued-bytes", limits.max_queued_bytes > 0),
            ("max-connections", limits.max_connections != Some(0)),
            ("max-owner-connections", limits.max_owner_connections > 0),
            ("max-registration-rate", limits.max_registration_rate > 0),
            ("max-bad-token-rate", limits.max_bad_token_rate > 0),
            ("max-request-rate", limits.max_request_rate > 0),
            ("max-message-rate", limits.max_message_rate > 0),
            ("max-byte-rate", limits.max_byte_rate > 0),
            ("max-sessions", limits.max_sessions > 0),
            ("max-rooms", limits.max_rooms > 0),
            ("max-streams", limits.max_streams > 0),
            ("max-viewers", limits.max_viewers > 0),
            ("max-stream-bitrate", limits.max_stream_bitrate > 0),
            ("max-room-members", limits.max_room_members > 0),
            ("max-notice-rate", limits.max_notice_rate > 0),
            ("max-log-rate", limits.max_log_rate > 0),
        ]
    }
}

/// Whether `after` trusts addresses that `before` does not.
fn trusts_more(before: &Vec<IpNet>, after: &[IpNet]) -> bool {
    let before = IpNet::aggregate(before);
    after.iter().any(|network| !before.iter().any(|known| known.contains(network)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn config(flags: &[&str]) -> Config {
        Config::parse_from([&["callbin-server"], flags].concat())
    }

    /// Flags that protect the server, each with a valid replacement.
    const GUARDS: [[&[&str]; 2]; 25] = [
        [&["--token-key-file", "a"], &["--token-key-file", "b"]],
        [&["--token-key-file", "a"], &["--token-jwks-file", "b"]],
        [&["--token-audience", "a"], &["--token-audience", "b"]],
        [&["--token-issuer", "a"], &["--token-issuer", "b"]],
        [&["--allowed-origin", "https://a"], &["--allowed-origin", "https://b"]],
        [&["--webhook-url", "http://a"], &["--webhook-url", "http://b"]],
        [&["--webhook-secret-file", "a"], &["--webhook-secret-file", "b"]],
        [&["--admin-secret-file", "a"], &["--admin-secret-file", "b"]],
        [&["--max-queued-bytes", "1"], &["--max-queued-bytes", "2"]],
        [&["--max-connections", "1"], &["--max-connections", "2"]],
        [&["--max-owner-connections", "1"], &["--max-owner-connections", "2"]],
        [&["--max-registration-rate", "1"], &["--max-registration-rate", "2"]],
        [&["--max-bad-token-rate", "1"], &["--max-bad-token-rate", "2"]],
        [&["--max-request-rate", "1"], &["--max-request-rate", "2"]],
        [&["--max-message-rate", "1"], &["--max-message-rate", "2"]],
        [&["--max-byte-rate", "1"], &["--max-byte-rate", "2"]],
        [&["--max-sessions", "1"], &["--max-sessions", "2"]],
        [&["--max-rooms", "1"], &["--max-rooms", "2"]],
        [&["--max-streams", "1"], &["--max-streams", "2"]],
        [&["--max-viewers", "1"], &["--max-viewers", "2"]],
        [&["--max-stream-bitrate", "1"], &["--max-stream-bitrate", "2"]],
        [&["--max-room-members", "1"], &["--max-room-members", "2"]],
        [&["--max-notice-rate", "1"], &["--max-notice-rate", "2"]],
        [&["--max-log-rate", "1"], &["--max-log-rate", "2"]],
        [&["--proxy-header", "x-real-ip"], &["--proxy-header", "forwarded"]],
    ];

    #[test]
    fn a_guard_can_be_replaced_and_not_taken_away() {
        for [flags, others] in GUARDS {
            let (name, guarded) = (flags[0].trim_start_matches("--"), config(flags));
            assert!(guarded.guards_lost_in(&config(others)).is_empty(), "{others:?}");
            // Limits have defaults; 0 removes a limit.
            let without = if name.starts_with("max-") { vec![flags[0], "0"] } else { vec![] };
            let lost = guarded.guards_lost_in(&config(&without));
            assert!(lost.len() == 1 && lost[0].contains(name), "{flags:?}: {lost:?}");
            assert!(config(&without).guards_lost_in(&guarded).is_empty(), "more is always in order");
        }
        let all = GUARDS.iter().skip(1).flat_map(|[flags, _]| flags.iter().copied()).collect::<Vec<_>>();
        assert_eq!(config(&all).guards_lost_in(&config(&[])).len(), 8, "all that have no default");
    }

    /// New limits must be added to the list of protections.
    #[test]
    fn each_limit_is_a_guard() {
        use clap::CommandFactory;
        let guards = config(&[]).guards().map(|(name, _)| name);
        for arg in Config::command().get_arguments() {
            let name = arg.get_long().unwrap_or_default();
            // These cannot be unlimited.
            if name.starts_with("max-") && !["max-message", "max-queue", "max-uid-length"].contains(&name) {
                assert!(guards.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn no_other_proxies_are_trusted_than_before() {
        let of = |networks: &str| match networks {
            "" => config(&[]),
            networks => config(&["--trusted-proxy", networks]),
        };
        for (before, after, widens) in [
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("10.0.0.0/8", "10.1.0.0/16,10.2.0.0/16", false),
            ("10.0.0.0/8", "", false),
            ("10.0.0.0/9,10.128.0.0/9", "10.0.0.0/8", false),
            ("10.0.0.0/8", "10.0.0.0/7", true),
            ("10.0.0.0/8", "10.0.0.0/8,192.0.2.0/24", true),
            ("10.0.0.0/8", "0.0.0.0/0", true),
            ("10.0.0.0/8", "::/0", true),
            ("", "10.0.0.0/8", true),
        ] {
            let lost = of(before).guards_lost_in(&of(after));
            assert_eq!(!lost.is_empty(), widens, "{before} to {after}");
        }
    }
}
