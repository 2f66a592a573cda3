own=.verifactory.phpunit.xml
for name in phpunit.xml phpunit.xml.dist phpunit.dist.xml; do
    if [ -f "$name" ] && [ ! -f "$own" ]; then
        sed -E 's/[[:space:]](failOn[A-Za-z]*|stopOn[A-Za-z]*|executionOrder|resolveDependencies|cacheResult(File)?|cacheDirectory|colors|printerClass|printerFile|beStrictAbout[A-Za-z]*|requireCoverage[A-Za-z]*|forceCovers[A-Za-z]*)="[^"]*"//g' "$name" > "$own"
    fi
done
trap 'rm -f "$own"' EXIT
phpunit=$1; shift
configuration=""; [ -f "$own" ] && configuration="--configuration $own"
# Composer's own phpunit loads the project's classes unasked.
if [ -f vendor/autoload.php ] && ! grep -qsE '[[:space:]]bootstrap=' "$own"; then
    configuration="$configuration --bootstrap vendor/autoload.php"
fi
$phpunit $configuration $VERIFACTORY_SHUFFLE --colors=never --no-coverage --log-teamcity "$VERIFACTORY_OUT/phpunit.teamcity" "$@"
