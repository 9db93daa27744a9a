// The cluster that the flows are played on: its masters, a client's configuration for each, and namespaces of one test.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

import * as k8s from '@kubernetes/client-node';

const PATIENCE_MS = 30_000;

/** Every master: its name, its URL, and the file that holds its process id. */
export const masters = () => JSON.parse(readFileSync(process.env.MASTERS, 'utf8'));

/** An administrator's configuration by the kubeconfig, for the first master or another one, or a token's bearer. */
export function config({ url, token } = {}) {
    const found = new k8s.KubeConfig();
    found.loadFromDefault();
    const { name, server, ...rest } = found.getCurrentCluster();
    const user = token ? { name: 'bearer', token } : found.getCurrentUser();
    const one = new k8s.KubeConfig();
    one.loadFromClusterAndUser({ ...rest, name, server: url ?? server }, user);
    return one;
}

/** Asks again until the condition holds; says what was waited for if it does not. */
export async function until(what, condition) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
        const value = await condition();
        if (value) return value;
        if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
        await pause(50);
    }
}

/** What is done must end with this code and a Status that says why. */
export async function refused(doing, code, reason, words = '') {
    const error = await doing.then(
        () => assert.fail(`was not refused with ${code}`),
        (error) => error,
    );
    assert.equal(error.code, code, error);
    const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
    assert.equal(status.kind, 'Status');
    assert.equal(status.status, 'Failure');
    assert.equal(status.reason, reason);
    assert.equal(status.code, code);
    assert.ok(status.message.includes(words), status.message);
    return status;
}

/** A namespace of one test. */
export async function namespace(core) {
    const name = `node-${randomBytes(4).toString('hex')}`;
    await core.createNamespace({ body: { metadata: { name } } });
    return name;
}

/** Ends a master as a power cut does. */
export const kill = (master) => process.kill(Number(readFileSync(master.pid_file, 'utf8')), 'SIGKILL');

/** Brings back whichever master is down. */
export const startAgain = () => execFileSync('kctl', ['start'], { timeout: 120_000, stdio: 'pipe' });
