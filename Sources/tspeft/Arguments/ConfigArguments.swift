import ArgumentParser

/// Settings from a file; the same for every command. The file is put into options before the parser sees them, so that
/// the value here is never read: see `CommandWords`.
struct ConfigArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Take options from this file, YAML or JSON; those of the command line win. (default: none)",
            discussion: "Keys are the options' names, with hyphens or underscores, and the positional arguments'; "
                + "repeated options have lists, flags true or false. Relative paths count from the working directory.",
            valueName: "file"),
        completion: .file())
    var config: String?
}
