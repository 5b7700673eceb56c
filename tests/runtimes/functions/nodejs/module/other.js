export const other = 'and its neighbour';
