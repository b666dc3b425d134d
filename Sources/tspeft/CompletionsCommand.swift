import ArgumentParser
import TSPEFT

struct CompletionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completions",
        abstract: "Print a script by which a shell completes tspeft's command lines.",
        discussion: """
            tspeft completions bash > ~/.local/share/bash-completion/completions/tspeft
            tspeft completions zsh > ~/.zfunc/_tspeft
            tspeft completions fish > ~/.config/fish/completions/tspeft.fish

            The script asks the program itself, so that it need not be made anew for another version. It completes \
            commands, options, names of types, methods, presets, rules and modules, and files of the kinds that a \
            command reads.
            """)

    @Argument(help: "The shell: bash, zsh or fish.")
    var shell: String

    @OptionGroup
    var config: ConfigArguments

    func run() throws {
        guard let script = CompletionScripts.text(for: shell) else {
            throw WorkflowError.unknownName(what: "shell", found: shell, known: CompletionScripts.shells)
        }
        Terminal.result(script)
    }
}
