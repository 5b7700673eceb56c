exports.handler = async () => 'cjs ' + require('path').basename(__filename);
