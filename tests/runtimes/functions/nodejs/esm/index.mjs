import { basename } from 'node:path';
const awaited = await Promise.resolve('top-level await');
export const handler = async () => `${awaited} ${basename(import.meta.url)}`;
export default async () => 'default';
export const streams = awslambda.streamifyResponse(async (event, stream) => { stream.end('from a module'); });
