import Adapters
import TensorCore

/// Looks out for thresholds that cannot do their work: s too small for the run, or a tau that no token reaches.
struct ThresholdWatch {
    /// What is remembered of a gate.
    struct Gate {
        /// Steps in a row without an active token.
        var silentSteps = 0
        /// Whether a warning has told of it.
        var isReported = false
    }

    /// Steps without an active token after which a module is reported.
    private static let deadSteps = 20
    /// The share of a run after which r is compared with what tau can reach: B, and so r, starts at 0.
    private static let firstLook = 0.25
    private let settings: ThresholdSettings
    private let totalSteps: Int
    private let reach: Double
    /// Of each adapted projection. With `hasComparedRatios` all that changes from step to step.
    var gates: [Gate]
    /// Whether r has been compared with what tau can reach.
    var hasComparedRatios = false
    /// The median of the gates' mean r when they were compared; nil before, and where no gate had one.
    private(set) var medianRatio: Float?

    /// - Parameter rateSum: alpha_k of equation 20 summed over the run: the number of steps where it is 1 throughout.
    init(_ settings: ThresholdSettings, totalSteps: Int, rateSum: Double, moduleCount: Int) {
        self.settings = settings
        // tau moves by about alpha_k s a step, since equation 20 normalises g.
        reach = settings.stepSize * rateSum
        self.totalSteps = totalSteps
        gates = [Gate](repeating: Gate(), count: moduleCount)
    }

    /// The warnings that a step gives rise to. `step` counts from 1; the gates hold the step's sums. A module without a
    /// rank has no r to speak of.
    mutating func look(at projections: [GatedProjection], ranks: [Int], step: Int) -> [Wording] {
        var warnings: [Wording] = []
        var newlyDead: [String] = []
        for (index, projection) in projections.enumerated() {
            guard let gate = projection.gate, gate.step.tokens > 0, ranks[index] > 0 else { continue }
            gates[index].silentSteps = gate.step.activeTokens == 0 ? gates[index].silentSteps + 1 : 0
            if gates[index].silentSteps == Self.deadSteps, !gates[index].isReported {
                gates[index].isReported = true
                newlyDead.append(
                    "\(projection.path) (tau \(shortText(gate.tau)), largest r \(shortText(gate.stepLargestRatio)))")
            }
        }
        if let first = newlyDead.first {
            let others = newlyDead.count > 1 ? " and \(newlyDead.count - 1) more modules" : ""
            warnings.append(
                "tau has outrun r: no token has passed the gate of \(first)\(others) for \(Self.deadSteps) steps; "
                    + "a smaller \(.thresholdStep) or \(.lambda) keeps tau nearer to r")
        }
        if !hasComparedRatios, settings.update == .adam, Double(step) >= Self.firstLook * Double(totalSteps) {
            hasComparedRatios = true
            let ratios = zip(projections, ranks).compactMap { projection, rank -> Float? in
                guard let gate = projection.gate, gate.step.tokens > 0, rank > 0 else { return nil }
                return gate.step.meanRatio
            }.sorted()
            let outOfReach = ratios.filter { Double($0) > reach }.count
            medianRatio = ratios.isEmpty ? nil : ratios[ratios.count / 2]
            if let median = medianRatio, outOfReach * 2 > ratios.count {
                let wanted = 1.5 * Double(median) / Double(totalSteps)
                warnings.append(
                    "s x steps = \(shortText(reach)) cannot reach the r of most modules (median of their means now "
                        + "\(shortText(median)), still growing): \(outOfReach) of \(ratios.count) gates will hardly "
                        + "close; \(.thresholdStep, shortText(wanted)) or more would suit this run's "
                        + "\(totalSteps) steps")
            }
        }
        return warnings
    }
}

/// A number with three significant digits in scientific notation, as a message has it: 2.19e-4.
func shortText(_ value: some BinaryFloatingPoint) -> String {
    var number = Double(value)
    guard number.isFinite, number != 0 else { return number == 0 ? "0" : "\(number)" }
    var exponent = 0
    while abs(number) >= 9.995 {
        number /= 10
        exponent += 1
    }
    while abs(number) < 0.9995 {
        number *= 10
        exponent -= 1
    }
    let digits = Int((abs(number) * 100).rounded())
    let fraction = digits % 100
    let mantissa = "\(digits / 100).\(fraction < 10 ? "0" : "")\(fraction)"
    return (number < 0 ? "-" : "") + mantissa + (exponent == 0 ? "" : "e\(exponent)")
}
