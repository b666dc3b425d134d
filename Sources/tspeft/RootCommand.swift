import ArgumentParser
import CKernels
import CheckpointIO
import Compute
@preconcurrency import Glibc
import TensorCore
import TSPEFT
import Threads

/// The program: a tree of commands, one file each.
@main
struct RootCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tspeft",
        abstract: "Adapt large models with token-selective adapters (TS-PEFT).",
        discussion: """
            tspeft demo
            tspeft inject BASE --method ts-lora --rank 8 -o adapter
            tspeft train BASE --adapter adapter --data chat.jsonl -o tuned
            tspeft merge BASE --adapter tuned -o model.gguf --type q4_k_m

            TS-PEFT (arXiv 2511.16147) puts a learned threshold before each adapted projection: a token whose update \
            is small against the projection's own output skips it. The share of skipped tokens tells which \
            projections matter. The usual order of work:

            inject, train, eval, rank-modules, prune, merge

            Exit codes: 0 success, 64 usage, 65 bad data, 66 missing input, 69 unsupported, 70 failed self-check, \
            73 cannot create output, 74 input/output error, 130 interrupted.
            """,
        version: "tspeft \(ToolVersion.current)",
        subcommands: [
            InjectCommand.self, TrainCommand.self, EvalCommand.self, GenerateCommand.self, RankModulesCommand.self,
            PruneCommand.self, MergeCommand.self, ConvertCommand.self, ExportCommand.self, InspectCommand.self,
            DemoCommand.self, CompletionsCommand.self,
        ])

    /// The names of the commands, in the order of help.
    static let commandNames = configuration.subcommands.compactMap { $0.configuration.commandName }

    /// What a program that ends with a code says by it.
    static let exitCodes: [(code: Int, meaning: String)] = [
        (0, "success"), (64, "usage: the command line is wrong"), (65, "bad data, or things that do not fit together"),
        (66, "an input is missing"), (69, "sound, but unsupported"), (70, "a check of the program's own result failed"),
        (73, "the output cannot be created, or is there already"),
        (74, "input/output error, or the disk or memory does not suffice"), (130, "interrupted"),
    ]

    static func main() {
        answerHelpers()
        restartWithQuietThreads()
        raiseFileLimit()
        Signals.watch()
        LostInputs.watch()
        var given = CommandWords()
        do {
            try checkAskedLevel()
            let arguments = Set(CommandLine.arguments.dropFirst())
            if arguments == ["--version", "--verbose"] { return printVersion() }
            try checkCommandName()
            given = try CommandWords(Array(CommandLine.arguments.dropFirst()))
            var command = try parseAsRoot(given.words)
            try command.run()
        } catch let error as any ReportableError {
            Terminal.endProgress()
            TemporaryOutputs.removeAll()
            let text = OptionWords.text(error)
            let place = error.exitStatus == .usage ? given.place(of: text).map { $0 + ": " } : nil
            Terminal.note("tspeft: \(place ?? "")\(text)\(homeHint(text))")
            Glibc.exit(error.exitStatus.rawValue)
        } catch {
            Terminal.endProgress()
            TemporaryOutputs.removeAll()
            end(with: error, given)
        }
    }

    /// Answers what scripts ask: completion of a shell's line, a script for that, a manual page.
    private static func answerHelpers() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard let first = arguments.first else { return }
        if first == CompletionScripts.request {
            _ = Terminal.resultText(Completion.text(Array(arguments.dropFirst())) + "\n")
            Glibc.exit(0)
        }
        let words = first.split(separator: "=", maxSplits: 1).map(String.init)
        if words[0] == "--generate-completion-script" {
            let shell = words.dropFirst().first ?? arguments.dropFirst().first ?? ""
            if let script = CompletionScripts.text(for: shell) {
                Terminal.result(script)
                Glibc.exit(0)
            }
        }
        guard first == ManualPage.request else { return }
        let facts = CommandFacts.program
        if arguments.count == 1 {
            Terminal.result([facts.name] + facts.commands.map(\.name).filter { $0 != "help" })
            Glibc.exit(0)
        }
        guard arguments.count == 3 else { return }
        let name = arguments[1]
        guard let command = name == facts.name ? facts : facts.command(name) else { return }
        Terminal.result(ManualPage.text(of: command, isRoot: name == facts.name, date: arguments[2]))
        Glibc.exit(0)
    }

    /// The parser's help of a command as this program shows it; another text as it is.
    private static func shown(_ text: String) -> String {
        let mark = "USAGE: tspeft"
        guard let usage = text.split(separator: "\n").first(where: { $0.hasPrefix(mark) }) else { return text }
        let name = usage.dropFirst(mark.count).split(separator: " ").first.map(String.init) ?? ""
        let facts = CommandFacts.program
        return facts.command(name).map { HelpText.text(of: $0) } ?? HelpText.text(of: facts, isRoot: true)
    }

    /// Ends the program as the parser wants it: help and the like go to stdout; what is wrong with the command line is
    /// one sentence on stderr, which begins with its place where that is a file of settings.
    private static func end(with error: any Error, _ given: CommandWords) -> Never {
        let code = exitCode(for: error)
        if code.isSuccess {
            let text = shown(fullMessage(for: error))
            if !text.isEmpty, Terminal.resultText(text) { _ = Terminal.resultText("\n") }
        } else {
            let parsed = sentence(message(for: error))
            let said = NumberWords.refusal(parsed, of: given.words) ?? withValues(parsed)
            let help = code == .validationFailure ? "; see '\(helpCommand)'" : ""
            let place = given.place(of: said).map { $0 + ": " } ?? ""
            Terminal.note("tspeft: \(place)\(unknownOption(said, in: given.words) ?? said)\(help)")
        }
        Glibc.exit(code.rawValue)
    }

    /// What explains the command that was given.
    private static var helpCommand: String {
        (["tspeft"] + [givenCommand].compactMap { $0 } + ["--help"]).joined(separator: " ")
    }

    /// Names the commands where the first argument is none of them.
    private static func checkCommandName() throws(WorkflowError) {
        var words = CommandLine.arguments.dropFirst()
        if words.first == "help" { words = words.dropFirst() }
        guard let name = words.first, !name.hasPrefix("-"), !commandNames.contains(name), name != "help" else { return }
        if let later = words.first(where: commandNames.contains) {
            throw .conflict("the command comes first: tspeft \(later) \(CommandText.quoted(name)) ...")
        }
        if let question = NearWords.question(NearWords.commands(name, among: commandNames)) {
            throw .conflict("unknown command '\(name)' (\(question)); see 'tspeft --help'")
        }
        throw .unknownName(what: "command", found: name, known: commandNames)
    }

    /// libgomp, which the matrix products run on, lets threads that wait spin, which costs a busy machine dearly; it
    /// reads its settings when it is loaded, so the program starts itself anew with kinder ones where the user has said
    /// nothing.
    private static func restartWithQuietThreads() {
        let settings = WaitingThreads.environment
        guard settings.allSatisfy({ name, _ in getenv(name) == nil }) else { return }
        for (name, value) in settings { setenv(name, value, 1) }
        execv("/proc/self/exe", CommandLine.unsafeArgv)
        // Where that is not possible, the program runs all the same.
    }

    /// Each part of a checkpoint is open as long as it is mapped, and systems let a program open 1024 files unless it
    /// asks for more, which most allow.
    private static func raiseFileLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        // Where that is not possible, opening a file too many says so.
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Refuses a level of vector instructions that there is none of; the kernels, which read it, would pass over it.
    private static func checkAskedLevel() throws(WorkflowError) {
        guard tspeft_asked_level() < 0 else { return }
        let known = (0...2).compactMap { tspeft_level_name($0) }.map { String(cString: $0) }
        throw .unknownName(
            what: "level in \(ProcessorPaths.limitVariable)",
            found: getenv(ProcessorPaths.limitVariable).map { String(cString: $0) } ?? "", known: known)
    }

    /// `--version --verbose`: the version, and which of the processor's paths are in use.
    private static func printVersion() {
        let paths = ProcessorPaths.current
        Terminal.result(
            """
            tspeft \(ToolVersion.current)
            processor: \(paths.processor)
            kernels: \(paths.kernels)
            products: oneDNN \(paths.libraryVersion), \(paths.products)
            BF16 products: \(paths.multipliesBF16 ? "in hardware" : "decoded into F32")
            threads: \(ThreadTeam.available)
            """)
    }
}
