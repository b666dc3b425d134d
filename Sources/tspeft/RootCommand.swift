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
            DemoCommand.self,
        ])

    static func main() {
        restartWithQuietThreads()
        raiseFileLimit()
        Signals.watch()
        LostInputs.watch()
        do {
            try checkAskedLevel()
            let arguments = Set(CommandLine.arguments.dropFirst())
            if arguments == ["--version", "--verbose"] { return printVersion() }
            try checkCommandName()
            var command = try parseAsRoot()
            try command.run()
        } catch let error as any ReportableError {
            Terminal.endProgress()
            TemporaryOutputs.removeAll()
            Terminal.note("tspeft: \(OptionWords.text(error))")
            Glibc.exit(error.exitStatus.rawValue)
        } catch {
            Terminal.endProgress()
            TemporaryOutputs.removeAll()
            end(with: error)
        }
    }

    /// Ends the program as the parser wants it: help and the like go to stdout; what is wrong with the command line is
    /// one sentence on stderr.
    private static func end(with error: any Error) -> Never {
        let code = exitCode(for: error)
        if code.isSuccess {
            let text = fullMessage(for: error)
            if !text.isEmpty, Terminal.resultText(text) { _ = Terminal.resultText("\n") }
        } else {
            let help = code == .validationFailure ? "; see '\(helpCommand)'" : ""
            Terminal.note("tspeft: \(sentence(message(for: error)))\(help)")
        }
        Glibc.exit(code.rawValue)
    }

    /// A message of the parser's, which may be a sentence and a list below it, on one line and without a full stop.
    static func sentence(_ message: String) -> String {
        let lines = message.split(whereSeparator: \.isNewline).map { line in
            let words = line.drop { $0.isWhitespace }
            return words.hasPrefix("- ") ? words.dropFirst(2) : words
        }
        let list = lines.dropFirst().joined(separator: ", ")
        let text = [lines.first.map(String.init) ?? "", list].filter { !$0.isEmpty }.joined(separator: " ")
        return text.hasSuffix(".") ? String(text.dropLast()) : text
    }

    /// What explains the command that was given.
    private static var helpCommand: String {
        let name = CommandLine.arguments.dropFirst().first { argument in
            configuration.subcommands.contains { $0.configuration.commandName == argument }
        }
        return (["tspeft"] + [name].compactMap { $0 } + ["--help"]).joined(separator: " ")
    }

    /// Names the commands where the first argument is none of them.
    private static func checkCommandName() throws(WorkflowError) {
        guard let name = CommandLine.arguments.dropFirst().first, !name.hasPrefix("-"), name != "help" else { return }
        let known = configuration.subcommands.compactMap { $0.configuration.commandName }
        if !known.contains(name) { throw .unknownName(what: "command", found: name, known: known) }
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
