import Adapters
import CheckpointIO
import Data
import TensorCore

/// The state of a run after a step: with the same inputs and settings, what follows from it is bit for bit what would
/// have followed without a stop. Random numbers need no state of their own; they are functions of seed and step.
package struct TrainingState {
    /// One gate's threshold and its optimizer.
    package struct Threshold: Equatable {
        /// The module's path.
        package let module: String
        /// The threshold.
        package let tau: Float
        /// Its moments and step count.
        package let optimizer: ThresholdOptimizer
        /// Steps in a row in which no token has passed the gate.
        package let silentSteps: Int
        /// Whether a warning has told of that.
        package let isReported: Bool

        /// A threshold as given.
        package init(
            module: String, tau: Float, optimizer: ThresholdOptimizer, silentSteps: Int, isReported: Bool
        ) {
            self.module = module
            self.tau = tau
            self.optimizer = optimizer
            self.silentSteps = silentSteps
            self.isReported = isReported
        }
    }

    /// The numbers of a state in tensors; see its properties of these names.
    package struct Numbers: Sendable {
        let tensors: [AdapterTensor]
        let moments: [(mean: [Float], meanSquare: [Float])]
        let scheduleTensors: [AdapterTensor]

        /// Numbers as given.
        package init(
            tensors: [AdapterTensor], moments: [(mean: [Float], meanSquare: [Float])],
            scheduleTensors: [AdapterTensor] = []
        ) {
            self.tensors = tensors
            self.moments = moments
            self.scheduleTensors = scheduleTensors
        }
    }

    /// Optimizer steps done.
    package let step: Int
    /// The example that comes next.
    package let position: DataOrder.Position
    /// The settings, as `TrainingConfiguration.json` gives them, and what the caller added to tell its inputs.
    package var configuration: JSONObject
    /// The tensors that are trained, in order.
    package let tensors: [AdapterTensor]
    /// The state of what the adapter's kind does to all modules together (`AdapterSchedule`).
    package let scheduleTensors: [AdapterTensor]
    /// AdamW's moments of each tensor.
    package let moments: [(mean: [Float], meanSquare: [Float])]
    /// The gates' thresholds in order.
    package let thresholds: [Threshold]
    /// Whether r has been compared with what tau can reach in this run, which is done once.
    package let hasComparedRatios: Bool
    /// The evaluations so far.
    package let validation: ValidationWatch

    /// The file of numbers in a checkpoint's directory: AdamW's moments, F32.
    package static let tensorFile = "training_state.safetensors"
    /// The file of everything else.
    package static let recordFile = "training_state.json"

    private static let meanSuffix = ".exp_avg"
    private static let meanSquareSuffix = ".exp_avg_sq"

    /// A state as given.
    package init(
        step: Int, position: DataOrder.Position, configuration: JSONObject, _ numbers: Numbers,
        thresholds: [Threshold], hasComparedRatios: Bool, validation: ValidationWatch = ValidationWatch()
    ) {
        self.step = step
        self.position = position
        self.configuration = configuration
        tensors = numbers.tensors
        scheduleTensors = numbers.scheduleTensors
        moments = numbers.moments
        self.thresholds = thresholds
        self.hasComparedRatios = hasComparedRatios
        self.validation = validation
    }

    /// The same state with its tensors and thresholds in the order of these names; nil where they are others.
    func ordered(_ names: [String], modules: [String]) -> TrainingState? {
        let places = NameTable(tensors.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
        let found = NameTable(thresholds.map { ($0.module, $0) }, uniquingKeysWith: { first, _ in first })
        let (order, gates) = (names.compactMap { places[$0] }, modules.compactMap { found[$0] })
        // A run of thresholds alone has no use for the rest.
        guard order.count == names.count, names.isEmpty || names.count == tensors.count, gates.count == modules.count,
            modules.count == thresholds.count
        else { return nil }
        return TrainingState(
            step: step, position: position, configuration: configuration,
            Numbers(
                tensors: order.map { tensors[$0] }, moments: order.map { moments[$0] },
                scheduleTensors: scheduleTensors),
            thresholds: gates, hasComparedRatios: hasComparedRatios, validation: validation)
    }

    /// Everything but tensors as JSON; doubles are written so that they read back exactly.
    package var record: JSONValue {
        var record: JSONObject = [
            "step": .integer(step), "epoch": .integer(position.epoch), "next_example": .integer(position.index),
            "configuration": .object(configuration), "ratios_compared": .bool(hasComparedRatios),
            "thresholds": .array(
                thresholds.map { threshold in
                    .object([
                        "module": .string(threshold.module), "tau": .real(threshold.tau),
                        "mean": .real(threshold.optimizer.mean), "mean_square": .real(threshold.optimizer.meanSquare),
                        "steps": .integer(threshold.optimizer.stepCount),
                        "silent_steps": .integer(threshold.silentSteps), "reported": .bool(threshold.isReported),
                    ])
                }),
        ]
        for (key, value) in validation.json.members { record[key] = value }
        return .object(record)
    }

    /// What the two moments of the tensor `name` are called.
    package static func momentNames(of name: String) -> [String] { [name + meanSuffix, name + meanSquareSuffix] }

    /// The moments and the schedule's state as named tensors.
    package var momentTensors: [AdapterTensor] {
        zip(tensors, moments).flatMap { tensor, moment -> [AdapterTensor] in
            [
                AdapterTensor(tensor.name + Self.meanSuffix, tensor.shape, moment.mean),
                AdapterTensor(tensor.name + Self.meanSquareSuffix, tensor.shape, moment.meanSquare),
            ]
        } + scheduleTensors
    }

    /// A state from its parts as read from files. Throws `badState`.
    package init(
        record: JSONValue, tensors: [AdapterTensor], momentTensors: [AdapterTensor], source: String
    ) throws(TrainingError) {
        func field<T>(_ value: T?, _ name: String) throws(TrainingError) -> T {
            guard let value else {
                throw .badState(path: source, problem: "'\(name)' is missing or has the wrong type")
            }
            return value
        }
        func count(
            _ value: JSONValue?, in range: ClosedRange<Int> = .steps, _ name: String
        ) throws(TrainingError) -> Int {
            guard case .number(let text)? = value else { return try field(nil, name) }
            guard let count = value?.integer(in: range) else {
                let bounds = "\(range.lowerBound) to \(range.upperBound)"
                throw .badState(path: source, problem: "'\(name)' is \(text), not from \(bounds)")
            }
            return count
        }
        func number(_ value: JSONValue?, atLeast least: Double = -.infinity, _ name: String) throws(TrainingError)
            -> Double
        {
            let number = try field(value?.doubleValue, name)
            guard number.isFinite, number >= least else {
                throw .badState(path: source, problem: "'\(name)' is \(value?.text() ?? ""), which no run leaves")
            }
            return number
        }
        step = try count(record["step"], "step")
        position = DataOrder.Position(
            epoch: try count(record["epoch"], "epoch"),
            index: try count(record["next_example"], "next_example"))
        configuration = try field(record["configuration"]?.objectValue, "configuration")
        var thresholds: [Threshold] = []
        for entry in try field(record["thresholds"]?.arrayValue, "thresholds") {
            // A Float goes through its shortest text, which Float reads back exactly.
            guard case .number(let tau)? = entry["tau"], let tau = Float(tau), tau.isFinite else {
                throw .badState(path: source, problem: "'tau' is missing or has the wrong type")
            }
            // Older states lack what warnings rest on; such a run is watched afresh.
            let silentSteps = try count(entry["silent_steps"] ?? .integer(0), in: 0...step, "silent_steps")
            thresholds.append(
                Threshold(
                    module: try field(entry["module"]?.stringValue, "module"), tau: tau,
                    optimizer: ThresholdOptimizer(
                        mean: try number(entry["mean"], "mean"),
                        meanSquare: try number(entry["mean_square"], atLeast: 0, "mean_square"),
                        stepCount: try count(entry["steps"], in: 0...step, "steps")),
                    silentSteps: silentSteps,
                    isReported: try field((entry["reported"] ?? .bool(false)).boolValue, "reported")))
        }
        hasComparedRatios = try field((record["ratios_compared"] ?? .bool(false)).boolValue, "ratios_compared")
        validation = try ValidationWatch(record, step: step, source: source)
        self.thresholds = thresholds
        let isMoment = { (name: String) in
            name.endsInBytes(of: Self.meanSuffix) || name.endsInBytes(of: Self.meanSquareSuffix)
        }
        scheduleTensors = momentTensors.filter { !isMoment($0.name) }
        // A run that trains thresholds alone has no moments.
        let tensors = momentTensors.isEmpty ? [] : tensors
        self.tensors = tensors
        let byName = NameTable(momentTensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var moments: [(mean: [Float], meanSquare: [Float])] = []
        for tensor in tensors {
            guard let mean = byName[tensor.name + Self.meanSuffix], mean.shape == tensor.shape,
                let meanSquare = byName[tensor.name + Self.meanSquareSuffix], meanSquare.shape == tensor.shape
            else { throw .badState(path: source, problem: "the moments of '\(tensor.name)' are missing") }
            guard mean.values.allSatisfy(\.isFinite), meanSquare.values.allSatisfy({ $0 >= 0 }) else {
                throw .badState(
                    path: source, problem: "the moments of '\(tensor.name)' hold a number that no run leaves")
            }
            moments.append((mean.values, meanSquare.values))
        }
        self.moments = moments
    }
}
