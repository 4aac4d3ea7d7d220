// Nothing: other checks use this page as an empty place.
sink(async () => {});
