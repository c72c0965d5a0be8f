//! Exact models of KEDA's scale loop and the HPA controller.
