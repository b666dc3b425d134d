import Glibc
import TensorCore

/// Looks out for a run that makes the model worse than it was: its learning rate is too high, and no other advice helps.
struct DivergenceWatch {
    /// Steps in a row whose losses are all compared with the first.
    private static let window = 3
    /// How far they must lie above the first step's loss: by this factor, and by one nat at least.
    private static let growth = 1.5
    /// The share of a blind guess's loss, ln(vocabulary), that they must reach: below, hard examples may do it.
    private static let leastShare = 0.6
    /// How near to a blind guess's loss a model's lies that gives every token the same chance, whatever it reads.
    private static let blindness = 0.01
    /// r, the size of an update against the projection's own output, above which an adapter drowns what it adapts.
    private static let largestRatio: Float = 10

    private let learningRate: Double
    private let blindLoss: Double
    private var firstLoss: Double?
    private var recent: [Double] = []
    /// Whether the run has been seen to diverge.
    private(set) var hasDiverged = false

    /// - Parameter learningRate: the run's peak; 0 for a run that trains no parameters, of which nothing is said.
    init(learningRate: Double, vocabularySize: Int) {
        self.learningRate = learningRate
        blindLoss = log(Double(max(2, vocabularySize)))
    }

    /// Takes up a step's loss, and the median over the gates of their mean r where that is known. The warning, once,
    /// where the run diverges.
    mutating func look(loss: Double, medianRatio: Float?) -> Wording? {
        let first = firstLoss ?? loss
        firstLoss = first
        recent = recent.suffix(Self.window - 1) + [loss]
        guard !hasDiverged, learningRate > 0 else { return nil }
        let bound = max(Self.leastShare * blindLoss, Self.growth * first, first + 1)
        let isBlind = blindLoss > first + 1 && recent.allSatisfy { abs($0 - blindLoss) < Self.blindness }
        if recent.count == Self.window, isBlind || recent.allSatisfy({ $0 > bound }) {
            hasDiverged = true
            return "the run diverges: the loss was \(Self.hundredths(first)) at its first step and is "
                + "\(Self.hundredths(loss)) now; " + advice
        }
        if let medianRatio, medianRatio > Self.largestRatio {
            hasDiverged = true
            return "the adapter's updates are \(shortText(medianRatio)) times as large as the outputs that they adapt "
                + "(median of the modules), as where a run diverges; " + advice
        }
        return nil
    }

    /// What to say where a run of which `steps` were sound comes to a value that is not finite; nil where it has nothing
    /// to do with what was learnt.
    func warning(ofNotFiniteAfter steps: Int) -> Wording? {
        guard !hasDiverged, steps > 0, learningRate > 0 else { return nil }
        return "after \(steps) sound steps a value is not finite, as where a run diverges; " + advice
    }

    private var advice: Wording { "try \(.learningRate, Self.text(suggestion))" }

    /// A tenth, and no more than adapters learn with.
    private var suggestion: Double { min(learningRate / 10, 1e-3) }

    /// A loss to two digits behind the point.
    private static func hundredths(_ loss: Double) -> String { "\((loss * 100).rounded() / 100)" }

    /// A rate as people write it: 3e-5 rather than 3.00e-5.
    private static func text(_ rate: Double) -> String {
        let text = shortText(rate)
        guard let mark = text.firstIndex(of: "e"), let point = text.firstIndex(of: ".") else { return text }
        var mantissa = text[..<mark]
        while mantissa.endIndex > point, mantissa.last == "0" { mantissa.removeLast() }
        if mantissa.last == "." { mantissa.removeLast() }
        return String(mantissa) + text[mark...]
    }
}
