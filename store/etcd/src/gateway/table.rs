//! Which path is which method: etcd's, the old ones of leases among them.

/// Paths after [`super::PREFIX`], and the methods that they name.
#[rustfmt::skip]
const METHODS: &[(&str, &str)] = &[
    ("kv/range",                       "/etcdserverpb.KV/Range"),
    ("kv/put",                         "/etcdserverpb.KV/Put"),
    ("kv/deleterange",                 "/etcdserverpb.KV/DeleteRange"),
    ("kv/txn",                         "/etcdserverpb.KV/Txn"),
    ("kv/compaction",                  "/etcdserverpb.KV/Compact"),
    ("watch",                          "/etcdserverpb.Watch/Watch"),
    ("lease/grant",                    "/etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke",                   "/etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive",                "/etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive",               "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases",                   "/etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/revoke",                "/etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/timetolive",            "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/leases",                "/etcdserverpb.Lease/LeaseLeases"),
    ("cluster/member/add",             "/etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove",          "/etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update",          "/etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list",            "/etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote",         "/etcdserverpb.Cluster/MemberPromote"),
    ("maintenance/alarm",              "/etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status",             "/etcdserverpb.Maintenance/Status"),
    ("maintenance/defragment",         "/etcdserverpb.Maintenance/Defragment"),
    ("maintenance/hash",               "/etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv",             "/etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot",           "/etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/transfer-leadership","/etcdserverpb.Maintenance/MoveLeader"),
    ("maintenance/downgrade",          "/etcdserverpb.Maintenance/Downgrade"),
    ("lock/lock",                      "/v3lockpb.Lock/Lock"),
    ("lock/unlock",                    "/v3lockpb.Lock/Unlock"),
    ("election/campaign",              "/v3electionpb.Election/Campaign"),
    ("election/proclaim",              "/v3electionpb.Election/Proclaim"),
    ("election/leader",                "/v3electionpb.Election/Leader"),
    ("election/observe",               "/v3electionpb.Election/Observe"),
    ("election/resign",                "/v3electionpb.Election/Resign"),
    ("auth/enable",                    "/etcdserverpb.Auth/AuthEnable"),
    ("auth/disable",                   "/etcdserverpb.Auth/AuthDisable"),
    ("auth/status",                    "/etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate",              "/etcdserverpb.Auth/Authenticate"),
    ("auth/user/add",                  "/etcdserverpb.Auth/UserAdd"),
    ("auth/user/get",                  "/etcdserverpb.Auth/UserGet"),
    ("auth/user/list",                 "/etcdserverpb.Auth/UserList"),
    ("auth/user/delete",               "/etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw",             "/etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant",                "/etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke",               "/etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add",                  "/etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get",                  "/etcdserverpb.Auth/RoleGet"),
    ("auth/role/list",                 "/etcdserverpb.Auth/RoleList"),
    ("auth/role/delete",               "/etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant",                "/etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke",               "/etcdserverpb.Auth/RoleRevokePermission"),
];

/// The method that a request's path names.
pub(super) fn find(path: &str) -> Option<&'static str> {
    let path = super::PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    METHODS.iter().find(|(known, _)| *known == path).map(|(_, method)| *method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::json;
    use crate::route;

    #[test]
    fn every_method_that_is_served_has_a_path() {
        for method in route::METHODS {
            assert!(METHODS.iter().any(|(_, known)| known == method), "{method}");
            assert!(json::method(method).is_some(), "{method} is in no file");
        }
        assert_eq!(find("/v3/kv/put"), Some("/etcdserverpb.KV/Put"));
        assert_eq!(find("/v3beta/kv/put"), find("/v3/kv/put"));
        assert_eq!(find("/v3/kv"), None);
    }
}
