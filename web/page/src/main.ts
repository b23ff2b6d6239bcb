import "./styles/main.css";
import { App } from "./app.ts";

void new App().start();
