// As it would be on AWS: nothing here knows of Sluice.
exports.handler = async (event, context) => {
    console.log('greeting %s, %d ms left', event.name, context.getRemainingTimeInMillis());
    return { greeting: `Hello, ${event.name ?? 'world'}` };
};
