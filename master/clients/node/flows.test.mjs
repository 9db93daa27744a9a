// What people do with the stock JavaScript client, on three masters and a node.
//
// `../run.sh` starts the cluster and says where it is (see `lab.mjs`); each `describe` is one flow.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';

import * as k8s from '@kubernetes/client-node';

import * as lab from './lab.mjs';

const config = lab.config();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const as = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);
const { JsonPatch, MergePatch, ServerSideApply, StrategicMergePatch } = k8s.PatchStrategy;

let namespace;
before(async () => {
    namespace = await lab.namespace(core);
});
after(() => core.deleteNamespace({ name: namespace }));

const configMap = (name, labels) => ({ metadata: { name, labels }, data: { key: 'value' } });
const create = (name, labels, api = core) => api.createNamespacedConfigMap({ namespace, body: configMap(name, labels) });
const names = (list) => list.items.map((item) => item.metadata.name);

const deployment = (name, replicas) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        template: {
            metadata: { labels: { app: name } },
            spec: {
                containers: [
                    { name: 'sleep', image: 'busybox', command: ['sh', '-c', 'trap exit TERM; sleep 3600 & wait'] },
                ],
            },
        },
    },
});

describe('objects', () => {
    test('are created, read, replaced and deleted', async () => {
        const made = await create('plain');
        assert.ok(made.metadata.creationTimestamp instanceof Date);
        await lab.refused(create('plain'), 409, 'AlreadyExists', 'configmaps "plain" already exists');
        const read = await core.readNamespacedConfigMap({ name: 'plain', namespace });
        assert.equal(read.metadata.resourceVersion, made.metadata.resourceVersion);
        const replace = () =>
            core.replaceNamespacedConfigMap({ name: 'plain', namespace, body: { ...read, data: { key: 'other' } } });
        assert.notEqual((await replace()).metadata.resourceVersion, made.metadata.resourceVersion);
        await lab.refused(replace(), 409, 'Conflict', 'the object has been modified');
        const body = { preconditions: { uid: 'somebody-else' } };
        await lab.refused(core.deleteNamespacedConfigMap({ name: 'plain', namespace, body }), 409, 'Conflict');
        assert.equal((await core.deleteNamespacedConfigMap({ name: 'plain', namespace })).status, 'Success');
        await lab.refused(core.readNamespacedConfigMap({ name: 'plain', namespace }), 404, 'NotFound');
    });

    test('that are wrong are refused by name', async () => {
        const status = await lab.refused(create('No_Good'), 422, 'Invalid', 'metadata.name');
        assert.equal(status.details.causes[0].field, 'metadata.name');
        const body = configMap('a');
        await lab.refused(core.createNamespacedConfigMap({ namespace: 'nowhere', body }), 404, 'NotFound');
    });

    test('of a dry run are not there', async () => {
        const made = await core.createNamespacedConfigMap({ namespace, body: configMap('dry'), dryRun: 'All' });
        assert.ok(made.metadata.uid);
        await lab.refused(core.readNamespacedConfigMap({ name: 'dry', namespace }), 404, 'NotFound');
    });

    test('are listed in pages and deleted at once', async () => {
        const all = Array.from({ length: 25 }, (_, number) => `page-${String(number).padStart(2, '0')}`);
        for (const name of all) await create(name, { set: 'pages' });
        const pages = { namespace, labelSelector: 'set=pages' };
        const seen = [];
        for (let _continue; ; ) {
            const page = await core.listNamespacedConfigMap({ ...pages, limit: 10, _continue });
            seen.push(...names(page));
            _continue = page.metadata._continue;
            if (!_continue) break;
        }
        assert.deepEqual(seen, all);
        await lab.refused(core.listNamespacedConfigMap({ ...pages, _continue: 'nonsense' }), 400, 'BadRequest');
        await core.deleteCollectionNamespacedConfigMap(pages);
        assert.deepEqual(names(await core.listNamespacedConfigMap(pages)), []);
    });

    test('are patched in every way', async () => {
        await apps.createNamespacedDeployment({ namespace, body: deployment('patched', 0) });
        const patch = (strategy, body, how) =>
            apps.patchNamespacedDeployment({ name: 'patched', namespace, body, ...how }, as(strategy));
        let after = await patch(JsonPatch, [{ op: 'add', path: '/metadata/labels', value: { by: 'json' } }]);
        assert.deepEqual({ ...after.metadata.labels }, { by: 'json' });
        after = await patch(MergePatch, { metadata: { labels: { by: null, and: 'merge' } } });
        assert.deepEqual({ ...after.metadata.labels }, { and: 'merge' });
        const second = { spec: { template: { spec: { containers: [{ name: 'second', image: 'busybox' }] } } } };
        after = await patch(StrategicMergePatch, second);
        assert.deepEqual(after.spec.template.spec.containers.map((one) => one.name).sort(), ['second', 'sleep']);
        const applied = { apiVersion: 'apps/v1', kind: 'Deployment', spec: { replicas: 1 } };
        const owner = { fieldManager: 'flows' };
        await lab.refused(patch(ServerSideApply, applied, owner), 409, 'Conflict', 'conflict');
        after = await patch(ServerSideApply, applied, { ...owner, force: true });
        assert.equal(after.spec.replicas, 1);
        assert.equal(after.metadata.managedFields.find((one) => one.manager === 'flows').operation, 'Apply');
        await lab.refused(patch('application/nonsense+json', {}), 415, 'UnsupportedMediaType');
    });

    test('of any kind pass through the object client', async () => {
        const any = k8s.KubernetesObjectApi.makeApiClient(config);
        const [service, other] = k8s.loadAllYaml(`
apiVersion: v1
kind: Service
metadata: {name: loaded, namespace: ${namespace}}
spec: {ports: [{port: 80}], selector: {app: loaded}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: loaded, namespace: ${namespace}}
spec: {podSelector: {}}
`);
        assert.equal((await any.create(service)).spec.type, 'ClusterIP');
        await any.create(other);
        const applied = await any.patch(
            { ...service, metadata: { name: 'loaded', namespace, labels: { by: 'apply' } } },
            undefined, undefined, 'flows', true, ServerSideApply,
        );
        assert.equal(applied.metadata.labels.by, 'apply');
        assert.equal((await any.read(other)).kind, 'NetworkPolicy');
        assert.deepEqual(names(await any.list('v1', 'Service', namespace)), ['loaded']);
        await any.delete(service);
        await lab.refused(any.read(service), 404, 'NotFound');
    });
});

describe('watches', () => {
    /** What happens after a version, as `TYPE name`, until a line comes. */
    const follow = (from, resourceVersion, last, labelSelector) =>
        new Promise((resolve, reject) => {
            const seen = [];
            let abort;
            const path = `/api/v1/namespaces/${namespace}/configmaps`;
            const saw = (type, item) => {
                seen.push(`${type} ${item.metadata.name}`);
                if (seen.at(-1) === last) {
                    resolve([seen, item.metadata.resourceVersion]);
                    abort?.abort();
                }
            };
            new k8s.Watch(from)
                .watch(path, { resourceVersion, labelSelector }, saw, (error) => error && reject(error))
                .then((controller) => (abort = controller), reject);
        });

    test('miss nothing between two', async () => {
        const labels = { watched: '' };
        const start = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
        await create('first', labels);
        await core.patchNamespacedConfigMap({ name: 'first', namespace, body: { data: { key: 'new' } } }, as(MergePatch));
        const [seen, version] = await follow(config, start, 'MODIFIED first', 'watched');
        assert.deepEqual(seen, ['ADDED first', 'MODIFIED first']);
        await core.deleteNamespacedConfigMap({ name: 'first', namespace });
        assert.deepEqual((await follow(config, version, 'DELETED first', 'watched'))[0], ['DELETED first']);
    });

    test('feed an informer, which goes on through another master when its own is killed', async () => {
        const [asked, other] = lab.masters();
        const [one, two] = [asked, other].map((master) => lab.config({ url: master.url }));
        const labels = { over: '' };
        const path = `/api/v1/namespaces/${namespace}/configmaps`;
        // What a program does that knows several masters: the configuration that the informer holds points to the next one.
        const current = new k8s.KubeConfig();
        const ask = (from) => current.loadFromClusterAndUser(from.getCurrentCluster(), from.getCurrentUser());
        ask(one);
        const list = () =>
            current.makeApiClient(k8s.CoreV1Api).listNamespacedConfigMap({ namespace, labelSelector: 'over' });
        const informer = k8s.makeInformer(current, path, list, 'over');
        const seen = [];
        let broken = 0;
        informer.on('add', (item) => seen.push(item.metadata.name));
        informer.on('update', (item) => seen.push(`updated ${item.metadata.name}`));
        informer.on('delete', (item) => seen.push(`deleted ${item.metadata.name}`));
        informer.on('error', () => (broken += 1));
        await informer.start();
        const expected = Array.from({ length: 20 }, (_, number) => `over-${String(number).padStart(2, '0')}`);
        const [first, second] = [one, two].map((from) => from.makeApiClient(k8s.CoreV1Api));
        for (const name of expected.slice(0, 10)) await create(name, labels, first);
        await second.readNamespacedConfigMap({ name: 'over-09', namespace });
        await lab.until('the informer has seen them', () => seen.length === 10);
        lab.kill(asked);
        try {
            await assert.rejects(first.listNamespace());
            for (const name of expected.slice(10)) await create(name, labels, second);
            await lab.until('the watch has ended', () => broken);
            ask(two);
            await informer.start();
            await lab.until('the informer has seen all', () => seen.length >= 20);
            await second.deleteNamespacedConfigMap({ name: 'over-00', namespace });
            await lab.until('the informer has seen it go', () => seen.length >= 21);
        } finally {
            lab.startAgain();
            await informer.stop();
        }
        assert.deepEqual(seen, [...expected, 'deleted over-00']);
        assert.equal((await first.listNamespacedConfigMap({ namespace, labelSelector: 'over' })).items.length, 19);
    });
});

describe('workloads', () => {
    test('roll out, scale, and go with what they own', async () => {
        await apps.createNamespacedDeployment({ namespace, body: deployment('web', 2) });
        const status = async () => (await apps.readNamespacedDeploymentStatus({ name: 'web', namespace })).status;
        await lab.until('two pods are available', async () => (await status()).availableReplicas === 2);
        const scale = await apps.readNamespacedDeploymentScale({ name: 'web', namespace });
        assert.equal(scale.status.selector, 'app=web');
        scale.spec.replicas = 1;
        await apps.replaceNamespacedDeploymentScale({ name: 'web', namespace, body: scale });
        await lab.until('one is left', async () => (await status()).replicas === 1);
        await apps.deleteNamespacedDeployment({ name: 'web', namespace, propagationPolicy: 'Foreground' });
        const one = { namespace, fieldSelector: 'metadata.name=web' };
        await lab.until('it is gone', async () => !(await apps.listNamespacedDeployment(one)).items.length);
        const sets = await apps.listNamespacedReplicaSet({ namespace, labelSelector: 'app=web' });
        assert.deepEqual(names(sets), []);
    });
});

describe('containers', () => {
    const script =
        'echo one; echo two; mkdir /www; echo served >/www/index.html; httpd -p 8080 -h /www; trap exit TERM; while read line; do echo heard $line; done; sleep 3600 & wait';

    before(async () => {
        const pod = (name, more) => ({
            metadata: { name },
            spec: {
                terminationGracePeriodSeconds: 1,
                containers: [{ name: 'main', image: 'busybox', stdin: true, command: ['sh', '-c', script] }],
                ...more,
            },
        });
        await core.createNamespacedPod({ namespace, body: pod('talker') });
        await core.createNamespacedPod({ namespace, body: pod('homeless', { nodeSelector: { nowhere: '' } }) });
        const phase = async () => (await core.readNamespacedPod({ name: 'talker', namespace })).status.phase;
        await lab.until('the pod runs', async () => (await phase()) === 'Running');
    });

    test('have logs', async () => {
        const log = new k8s.Log(config);
        const read = async (options) => {
            const sink = new PassThrough();
            await log.log(namespace, 'talker', 'main', sink, options);
            return text(sink);
        };
        await lab.until('both lines are there', async () => (await read()).startsWith('one\ntwo\n'));
        assert.equal(await core.readNamespacedPodLog({ name: 'talker', namespace, limitBytes: 4 }), 'one\n');
        const sink = new PassThrough();
        const follow = await log.log(namespace, 'talker', 'main', sink, { follow: true });
        assert.match(String((await once(sink, 'data'))[0]), /^one\n/);
        follow.abort();
        const error = await log.log(namespace, 'talker', 'nobody', new PassThrough()).catch((error) => error);
        assert.equal(error.code, 400);
    });

    test('run commands', async () => {
        const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
        const ended = new Promise((resolve, reject) => {
            const command = ['sh', '-c', 'read line; echo got $line; echo bad >&2; exit 3'];
            new k8s.Exec(config).exec(namespace, 'talker', 'main', command, stdout, stderr, stdin, false, resolve).catch(reject);
        });
        stdin.write('input\n');
        const [out, bad, status] = await Promise.all([text(stdout), text(stderr), ended]);
        assert.deepEqual([out, bad], ['got input\n', 'bad\n']);
        assert.equal(status.status, 'Failure');
        assert.deepEqual({ ...status.details.causes[0] }, { reason: 'ExitCode', message: '3' });
        for (const [name, code] of [['nobody', 404], ['homeless', 400]]) {
            const doing = new k8s.Exec(config).exec(namespace, name, 'main', ['true'], new PassThrough(), null, null, false);
            await assert.rejects(doing, (error) => String(error.message).includes(code));
        }
    });

    test('are attached to', async () => {
        const [stdin, stdout] = [new PassThrough(), new PassThrough()];
        const socket = await new k8s.Attach(config).attach(namespace, 'talker', 'main', stdout, null, stdin, false);
        stdin.write('me\n');
        assert.equal(String((await once(stdout, 'data'))[0]), 'heard me\n');
        socket.close();
    });

    test('forward ports', async () => {
        const forward = new k8s.PortForward(config);
        const server = createServer((socket) => forward.portForward(namespace, 'talker', [8080], socket, null, socket));
        server.listen(0, '127.0.0.1');
        await once(server, 'listening');
        const socket = connect(server.address().port, '127.0.0.1');
        socket.write('GET / HTTP/1.0\r\n\r\n');
        let answer = '';
        for await (const piece of socket) {
            answer += piece;
            if (answer.endsWith('served\n')) break;
        }
        assert.match(answer, /^HTTP\/1.. 200 OK/);
        server.close();
    });
});

describe('kinds of the user', () => {
    const [group, version, plural] = ['flows.example.com', 'v1', 'nodes'];
    const definitions = config.makeApiClient(k8s.ApiextensionsV1Api);
    const custom = config.makeApiClient(k8s.CustomObjectsApi);
    const name = `${plural}.${group}`;

    before(() =>
        definitions.createCustomResourceDefinition({
            body: {
                metadata: { name },
                spec: {
                    group,
                    scope: 'Namespaced',
                    names: { plural, kind: 'Node' },
                    versions: [
                        {
                            name: version,
                            served: true,
                            storage: true,
                            subresources: { status: {}, scale: { specReplicasPath: '.spec.size', statusReplicasPath: '.status.size' } },
                            schema: {
                                openAPIV3Schema: {
                                    type: 'object',
                                    properties: {
                                        spec: { type: 'object', properties: { size: { type: 'integer', minimum: 1, _default: 2 } } },
                                        status: { type: 'object', properties: { size: { type: 'integer' } } },
                                    },
                                },
                            },
                        },
                    ],
                },
            },
        }),
    );
    after(() => definitions.deleteCustomResourceDefinition({ name }));

    test('are kept like those of Kubernetes', async () => {
        const where = { group, version, namespace, plural };
        const one = { ...where, name: 'one' };
        const body = { apiVersion: `${group}/${version}`, kind: 'Node', metadata: { name: 'one' }, spec: {} };
        const made = await custom.createNamespacedCustomObject({ ...where, body });
        assert.equal(made.spec.size, 2);
        const small = { ...body, metadata: { name: 'small' }, spec: { size: 0 } };
        await lab.refused(custom.createNamespacedCustomObject({ ...where, body: small }), 422, 'Invalid', 'spec.size');
        const replaced = { ...made, spec: { size: 3 } };
        await custom.replaceNamespacedCustomObject({ ...one, body: replaced });
        await lab.refused(custom.replaceNamespacedCustomObject({ ...one, body: replaced }), 409, 'Conflict');
        const status = { status: { size: 3 } };
        await custom.patchNamespacedCustomObjectStatus({ ...one, body: status }, as(MergePatch));
        const scale = await custom.getNamespacedCustomObjectScale(one);
        assert.deepEqual([scale.spec.replicas, scale.status.replicas], [3, 3]);
        const applied = { ...body, spec: { size: 5 } };
        const force = { fieldManager: 'flows', force: true };
        const after = await custom.patchNamespacedCustomObject({ ...one, body: applied, ...force }, as(ServerSideApply));
        assert.equal(after.spec.size, 5);
        const seen = [];
        await new Promise((resolve, reject) => {
            const path = `/apis/${group}/${version}/namespaces/${namespace}/${plural}`;
            const since = { resourceVersion: made.metadata.resourceVersion };
            const saw = (type) => {
                seen.push(type);
                if (type === 'DELETED') resolve();
            };
            new k8s.Watch(config).watch(path, since, saw, (error) => (error ? reject(error) : resolve()));
            custom.deleteNamespacedCustomObject(one).catch(reject);
        });
        assert.deepEqual(seen, ['MODIFIED', 'MODIFIED', 'MODIFIED', 'DELETED']);
        assert.deepEqual((await custom.listNamespacedCustomObject(where)).items, []);
    });
});

describe('access', () => {
    test('is what roles say', async () => {
        await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'reader' } } });
        const request = { spec: { audiences: [], expirationSeconds: 600 } };
        const made = await core.createNamespacedServiceAccountToken({ name: 'reader', namespace, body: request });
        const reader = lab.config({ token: made.status.token });
        const user = `system:serviceaccount:${namespace}:reader`;
        const list = () => reader.makeApiClient(k8s.CoreV1Api).listNamespacedConfigMap({ namespace });
        await lab.refused(list(), 403, 'Forbidden', `User "${user}" cannot list resource "configmaps"`);
        const rbac = config.makeApiClient(k8s.RbacAuthorizationV1Api);
        const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['list'] }];
        await rbac.createNamespacedRole({ namespace, body: { metadata: { name: 'reads' }, rules } });
        await rbac.createNamespacedRoleBinding({
            namespace,
            body: {
                metadata: { name: 'reads' },
                roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reads' },
                subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace }],
            },
        });
        const authorization = reader.makeApiClient(k8s.AuthorizationV1Api);
        const may = async (verb) => {
            const body = { spec: { resourceAttributes: { namespace, resource: 'configmaps', verb } } };
            return (await authorization.createSelfSubjectAccessReview({ body })).status.allowed;
        };
        await lab.until('the binding counts', () => may('list'));
        assert.equal(await may('delete'), false);
        assert.ok((await list()).items.length);
        const who = await reader.makeApiClient(k8s.AuthenticationV1Api).createSelfSubjectReview({ body: {} });
        assert.equal(who.status.userInfo.username, user);
        const nobody = lab.config({ token: 'nonsense' }).makeApiClient(k8s.CoreV1Api);
        // This client drops the body of a 401.
        await assert.rejects(nobody.listNamespace(), { code: 401 });
    });
});

describe('the server', () => {
    test('says what it is and has', async () => {
        assert.equal((await config.makeApiClient(k8s.VersionApi).getCode()).minor, '36');
        assert.ok(await new k8s.Health(config).readyz({}));
        const { groups } = await config.makeApiClient(k8s.ApisApi).getAPIVersions();
        assert.ok(groups.some((group) => group.name === 'apps'));
        const { resources } = await core.getAPIResources();
        assert.deepEqual(resources.find((one) => one.name === 'pods').shortNames, ['po']);
    });
});
