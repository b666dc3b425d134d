import ArgumentParser
import CheckpointIO
@preconcurrency import Glibc
import TSPEFT

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Go the whole way on a small model, from a new adapter to a merged checkpoint.",
        discussion: """
            tspeft demo
            tspeft demo -o demo --steps 100
            tspeft demo --base Qwen3-0.6B --steps 50

            Adapts a small Llama model that comes with the program to the sentiment of film reviews (SST-2), in about \
            two minutes on two cores, and prints a table of what it measured.
            """)

    @Option(
        help: ArgumentHelp(
            "Folder with tiny-llama and sst2; without, the one that TSPEFT_FIXTURES in the environment names, the one "
                + "installed with the program, or Fixtures/ of the program's sources."))
    var fixtures: String?

    @Option(
        help: ArgumentHelp(
            "Go the way with this model, a directory or a GGUF file, all of whose linear layers are adapted. (default: the "
                + "small Llama)", valueName: "model"),
        completion: .file())
    var base: String?

    @Option(name: .shortAndLong, help: "Keep the demo's files here, a directory; removed at the end without.")
    var output: String?

    @Option(help: "Optimizer steps.")
    var steps = 600

    @Option(help: "Seed.")
    var seed: UInt64 = 0

    @OptionGroup(title: "Computation")
    var compute: ComputeArguments

    @OptionGroup
    var config: ConfigArguments

    func validate() throws {
        try checkCounts([("--steps", steps)])
    }

    func run() throws {
        Signals.stopInOrder()
        let work: String
        if let output {
            guard access(output, F_OK) != 0 else {
                throw WorkflowError.outputExists(output, remedy: "name a new directory with \(.output)")
            }
            work = output
        } else {
            work = try temporaryFolder()
            TemporaryOutputs.add(work)
        }
        defer {
            if output == nil {
                removeTree(work)
                TemporaryOutputs.remove(work)
            }
        }
        var request = DemoRequest(fixturesPath: try fixtures ?? DemoFixtures.ofProcess.find(), workPath: work)
        request.basePath = base
        request.steps = steps
        request.seed = seed
        request.compute = compute.options
        let start = ContinuousClock.now
        let rows = try makeRows(request)
        let elapsed = ContinuousClock.now - start
        Terminal.note("")
        var table = TextTable([.left, .right, .right, .right, .right, .right, .right, .right])
        table.add(["model", "accuracy", "loss", "sparsity", "modules", "size", "made in", "eval"])
        table.addRule()
        for row in rows {
            table.add([
                row.name, percent(row.accuracy) + " %", fixed(row.loss, 4),
                row.sparsity.map { percent($0) + " %" } ?? "-", row.modules.map(String.init) ?? "-",
                byteText(row.byteCount), row.seconds > 0 ? durationText(row.seconds) : "-",
                durationText(row.evaluationSeconds),
            ])
        }
        for line in table.lines { Terminal.result(line) }
        Terminal.result(
            "accuracy, loss and sparsity on the \(grouped(rows[0].records)) records of SST-2's test file; "
                + "\(durationText(Double(elapsed.components.seconds))) in all")
        if let output { Terminal.result("files kept in \(output)") }
    }

    /// Goes the whole way and tells each step. Throws `interrupted`.
    private func makeRows(_ request: DemoRequest) throws -> [DemoRow] {
        let view = TrainView(logInterval: 50)
        do {
            return try runDemo(request, shouldStop: { Signals.stopRequested }) { event in
                switch event {
                case .begins(let step):
                    Terminal.endProgress()
                    Terminal.note("")
                    Terminal.note("# \(step.purpose)")
                    Terminal.note("$ \(step.command)")
                case .ends(let result):
                    Terminal.endProgress()
                    for line in result.lines { Terminal.note(line) }
                case .training(let progress): view.show(progress)
                case .evaluating(let done, let total): Terminal.progress("\(done) of \(total) records")
                }
            }
        } catch WorkflowError.interrupted(let text) {
            throw WorkflowError.interrupted(text + (output.map { "; what it made is in \($0)" } ?? ""))
        }
    }

    private func temporaryFolder() throws -> String {
        let root = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array(joinedPath(root, "tspeft-demo-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else {
            throw WorkflowError.cannotCreate(root, reason: systemMessage(errno))
        }
        return template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }
}
