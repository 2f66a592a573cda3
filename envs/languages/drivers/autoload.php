<?php
(static function (string $root): void {
    $composer = json_decode((string) file_get_contents("$root/composer.json"), true) ?: [];
    $four = $zero = $files = $roots = [];
    foreach (["autoload", "autoload-dev"] as $section) {
        $rules = $composer[$section] ?? [];
        foreach ($rules["psr-4"] ?? [] as $prefix => $folders) {
            foreach ((array) $folders as $folder) { $four[] = [$prefix, rtrim("$root/$folder", "/")]; }
        }
        foreach ($rules["psr-0"] ?? [] as $prefix => $folders) {
            foreach ((array) $folders as $folder) { $zero[] = [$prefix, rtrim("$root/$folder", "/")]; }
        }
        foreach ($rules["classmap"] ?? [] as $folder) { $roots[] = "$root/$folder"; }
        foreach ($rules["files"] ?? [] as $file) { $files[] = "$root/$file"; }
    }
    $map = null;
    $scan = static function () use ($roots): array {
        $found = [];
        foreach ($roots as $path) {
            $list = is_dir($path)
                ? new RecursiveIteratorIterator(new RecursiveDirectoryIterator($path, FilesystemIterator::SKIP_DOTS))
                : [$path];
            foreach ($list as $file) {
                if (substr((string) $file, -4) !== ".php") { continue; }
                $text = (string) file_get_contents((string) $file);
                $space = preg_match("/^\s*namespace\s+([\w\\\\]+)/m", $text, $m) ? $m[1] . "\\" : "";
                preg_match_all("/^\s*(?:abstract\s+|final\s+|readonly\s+)*(?:class|interface|trait|enum)\s+(\w+)/m", $text, $m);
                foreach ($m[1] as $name) { $found[strtolower($space . $name)] = (string) $file; }
            }
        }
        return $found;
    };
    spl_autoload_register(static function (string $class) use ($four, $zero, $scan, &$map): void {
        $candidates = [];
        foreach ($four as [$prefix, $folder]) {
            if ($prefix === "" || strncmp($class, $prefix, strlen($prefix)) === 0) {
                $candidates[] = "$folder/" . str_replace("\\", "/", substr($class, strlen($prefix))) . ".php";
            }
        }
        $cut = strrpos($class, "\\");
        $space = $cut === false ? "" : substr($class, 0, $cut + 1);
        $name = $cut === false ? $class : substr($class, $cut + 1);
        $relative = str_replace("\\", "/", $space) . str_replace("_", "/", $name) . ".php";
        foreach ($zero as [$prefix, $folder]) {
            if ($prefix === "" || strncmp($class, $prefix, strlen($prefix)) === 0) { $candidates[] = "$folder/$relative"; }
        }
        $candidates[] = "/usr/share/php/" . str_replace("\\", "/", $class) . ".php";
        $candidates[] = "/usr/share/php/$relative";
        foreach ($candidates as $file) {
            if (is_file($file)) { require_once $file; return; }
        }
        $map ??= $scan();
        if (isset($map[strtolower($class)])) { require_once $map[strtolower($class)]; }
    });
    foreach (array_merge($composer["require"] ?? [], $composer["require-dev"] ?? []) as $package => $_) {
        foreach (glob("/usr/share/php/*/autoload.php") as $autoload) {
            if (strcasecmp(str_replace("-", "", basename(dirname($autoload))), str_replace(["-", "/"], "", $package)) === 0) {
                require_once $autoload;
            }
        }
    }
    foreach ($files as $file) { require_once $file; }
})(dirname(__DIR__));
