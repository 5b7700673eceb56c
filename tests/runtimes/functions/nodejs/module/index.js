import { other } from './other.js';
export const handler = async () => `type module ${other}`;
export default { handler: async () => 'inside default' };
